"""The command that shows a decoder as a web page."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from mindeye2.cli.commands import app
from mindeye2.cli.options import Assign, Config, Debug, Device
from mindeye2.cli.outcome import report_outcome
from mindeye2.core.errors import require

__all__ = ["open_app"]


@app.command("app")
@report_outcome
def open_app(
    *,
    run: Annotated[
        str,
        typer.Argument(
            help="Folder of 'mindeye2 train', 'import' or 'export'; or OWNER/NAME on the hub."
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Option("--source", help="Prepared data set; by default the recorded one."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port.")] = 7860,
    config: Config = None,
    assign: Assign = None,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Show a decoder as a web page of this machine: choose a test image, or drop betas."""
    require("gradio", extra="app", purpose="mindeye2 app")

    from mindeye2.cli.decoding import open_decoder, recorded_data

    decoder = open_decoder(run, config=config, assignments=assign or [], device=device)
    with tempfile.TemporaryDirectory() as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads  # read when Gradio is imported
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        from mindeye2.app import TrialView, build_app

        view = TrialView(decoder, source or recorded_data(Path(run)))
        page = build_app(view)
        page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
            max_file_size="64mb",
            prevent_thread_lock=True,
        )
        print(decoder)
        print(f"{page.local_url} (Ctrl-C ends it)", flush=True)
        try:
            page.block_thread()
        finally:
            page.close(verbose=False)
            view.decoding.acquire()  # for good: nothing is computed from here on
