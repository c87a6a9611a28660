"""The command that serves a decoder over HTTP."""

from typing import Annotated

import typer

from mindeye2.cli.commands import app
from mindeye2.cli.options import Assign, Config, Debug, Device
from mindeye2.cli.outcome import report_outcome
from mindeye2.core.errors import require

__all__ = ["serve"]


@app.command()
@report_outcome
def serve(
    *,
    run: Annotated[
        str,
        typer.Argument(
            help="Folder of 'mindeye2 train', 'import' or 'export'; or OWNER/NAME on the hub."
        ),
    ],
    host: Annotated[
        str,
        typer.Option("--host", help="Address to bind; others than this machine's need a token."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 for any that is free.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="MINDEYE2_TOKEN",
            help="Token that requests must carry; better in the environment than typed.",
        ),
    ] = None,
    config: Config = None,
    assign: Assign = None,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Serve a decoder over HTTP: JSON or .npy in, JSON or PNG out."""
    require("fastapi", extra="serve", purpose="mindeye2 serve")
    require("uvicorn", extra="serve", purpose="mindeye2 serve")

    from mindeye2.cli.decoding import open_decoder
    from mindeye2.serve import Access, bind, build_server, run_server

    access = Access(host=host, token=token)
    with bind(host, port) as listener:  # before minutes of loading
        decoder = open_decoder(run, config=config, assignments=assign or [], device=device)
        shown = f"[{host}]" if ":" in host else host
        print(decoder)
        print(
            f"http://{shown}:{listener.getsockname()[1]}/openapi.json (Ctrl-C ends it)", flush=True
        )
        run_server(build_server(decoder, access=access), listener)
