"""Controls of the page and what they do."""

import gradio as gr

from mindeye2.app.trial_view import TrialView

__all__ = ["build_app"]


def build_app(view: TrialView) -> gr.Blocks:
    """Build the page; one image is decoded at a time.

    Parameters
    ----------
    view
        Decodes and describes an image.

    Returns
    -------
    gradio.Blocks
        The page, which its `launch` serves.
    """

    def decode(subject: str, image: float | None, upload: bytes | None, *chosen: float) -> str:
        n_candidates, n_repeats, prior_samples, prior_steps, lowlevel_weight = chosen
        try:
            with view.decoding:
                html, warned = view.decode(
                    subject,
                    int(image or 0),
                    upload,
                    n_candidates=int(n_candidates),
                    n_repeats=int(n_repeats),
                    prior_samples=int(prior_samples),
                    prior_steps=int(prior_steps),
                    lowlevel_weight=lowlevel_weight,
                )
        except ValueError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error
        for message in warned:
            gr.Warning(message, duration=None)
        return html

    def start(subject: str, image: float | None, upload: bytes | None, *chosen: float) -> str:
        # A page without test images waits for a file.
        return decode(subject, image, upload, *chosen) if view.n_images(subject) else ""

    subjects, settings = view.subjects, view.settings
    samples, steps = settings.prior_samples, settings.prior_steps
    n_images = view.n_images(subjects[0])
    with gr.Blocks(title="mindeye2", analytics_enabled=False) as page:
        gr.Markdown("# mindeye2\nDecode what a subject saw from fMRI betas.")
        with gr.Row():
            subject = gr.Dropdown(subjects, value=subjects[0], label="Subject")
            image = gr.Number(
                0, label="Image", info=f"0 to {n_images - 1}" if n_images else None, precision=0
            )
            upload = gr.File(label="Or betas (.npy)", type="binary", file_types=[".npy"])
        with gr.Row():
            sliders = [
                gr.Slider(1, 8, value=1, step=1, label="Reconstructions to compare"),
                gr.Slider(1, 10, value=10, step=1, label="Repeats to average, at most"),
                gr.Slider(1, max(16, samples), samples, step=1, label="Samples of the prior"),
                gr.Slider(2, max(100, steps), steps, step=1, label="Steps of the prior"),
                gr.Slider(0, 1, settings.lowlevel_weight, label="Weight of the low-level image"),
            ]
        button = gr.Button("Decode", variant="primary")
        shown = gr.HTML()
        inputs = [subject, image, upload, *sliders]
        button.click(decode, inputs, shown, api_name="decode")
        page.load(start, inputs, shown)
    page.queue(default_concurrency_limit=1, max_size=16)
    built: gr.Blocks = page
    return built
