"""`edgebench app`: a page on this machine that does for one photograph what `edgebench predict` does for many."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from edgebench.cli.controls import all_controls, arguments, chosen_values, titles_of
from edgebench.cli.options import Root
from edgebench.errors import ConfigError, EdgebenchError

if TYPE_CHECKING:
    import gradio
    import numpy as np

    from edgebench.stages.photos.answers import Detector, EdgeAnswer, MaskAnswer

BUTTONS = ["download", "fullscreen"]  # no button that shares pictures with a public site
LARGEST_UPLOAD = "40mb"
WAITING = 8
"""Requests that may wait for their turn; one is worked on at a time."""

FORGET_SECONDS = 3600
TITLE = "edgebench: edges and masks of a photograph"
RELEASED = {"memo": "memo_bsds_late", "diffdis": "diffdis_released"}  # no one has released weights of TRACE


def app(
    host: Annotated[
        str, typer.Option(help="Address to listen at. The default lets nobody but this machine in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes any that is free.")] = 7860,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    root: Root = Path("."),
) -> None:
    """A page for one photograph: choose a method, see edges and their reveal, or the mask and what it cuts out.

    Weights are those that lie below results/ (of `make demo`, of trainings, of released checkpoints that were
    fetched). Nothing leaves this machine. Needs Gradio: `pip install '.[app]'`. Ctrl-C ends it.

    Example: edgebench app --open
    """
    page = build(root)
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port or _free_port(host),
            inbrowser=open_browser,
            prevent_thread_lock=True,
            **launch_options(),
        )
    except OSError as error:
        raise EdgebenchError(f"cannot listen at {host}:{port} ({error}). --port 0 takes a port that is free.") from None
    print(f"The page is at {address} (Ctrl-C ends it).", flush=True)
    page.block_thread()


def _free_port(host: str) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


Picture: TypeAlias = "np.ndarray | Path | None"


@dataclass(frozen=True)
class Reply:
    """What the page shows.

    Attributes:
        pictures: One for each of the method's titles: uint8 (H, W) or (H, W, 3), a file, or nothing.
        cutout: PNG with alpha to take away, of methods that cut out.
        text: Method, size, rounds and seconds.
    """

    pictures: tuple[Picture, Picture, Picture]
    cutout: Path | None
    text: str


def respond(photo: Path | None, method: str, choices: dict[str, Any], folder: Path) -> Reply:
    """Edges or the mask of a photograph by a method.

    Args:
        photo: Image file; None when none was given.
        method: One of `edgebench.stages.photos.METHODS`.
        choices: Values by the names of the method's arguments; others are left aside.
        folder: Where files may be written.

    Raises:
        EdgebenchError: the photograph or a choice cannot be used.
    """
    from edgebench.data.images import read_image
    from edgebench.stages.photos import METHODS
    from edgebench.stages.photos.answers import EdgeAnswer, MaskAnswer, ask

    if photo is None:
        raise ConfigError("Choose a photograph first.")
    if method not in METHODS:
        raise ConfigError(f"method {method!r}: there is no such method.")
    taken = {name: choices[name] for name in arguments(method) if name in choices}
    if "weights" in arguments(method) and not taken.get("weights"):
        loads = f", `edgebench fetch {RELEASED[method]}` loads some" if method in RELEASED else ""
        raise ConfigError(f"There are no weights yet: `make demo` trains some{loads}.")
    image = read_image(photo)
    start = time.perf_counter()
    detector = _detector(method, _stamp(taken), tuple(taken.items()))
    loaded = time.perf_counter()
    (answer,) = ask(detector, [image], [photo.stem])
    height, width = image.shape[:2]
    parts = [f"{method}: {width} x {height} pixels", f"{time.perf_counter() - loaded:.2f} s"]
    if loaded - start > 0.5:
        parts.append(f"{loaded - start:.1f} s to load the network")
    if isinstance(answer, MaskAnswer):
        parts.append(f"{100 * answer.facts['foreground']:.1f} % of the pixels are the object")
        return Reply(*_cut_out(answer, photo, folder), ", ".join(parts))
    assert isinstance(answer, EdgeAnswer)
    if answer.rounds is not None:
        parts.insert(1, f"{answer.rounds} rounds")
    parts.append(f"{100 * answer.edges.mean():.1f} % of the pixels are edges")
    return Reply(_edges(answer, folder), None, ", ".join(parts))


def _edges(answer: EdgeAnswer, folder: Path) -> tuple[Picture, Picture, Picture]:
    """Probability, edges and the reveal, when there is one."""
    animation = None
    if answer.order is not None:
        from edgebench.methods.memo.frames import write_reveal

        animation = _new_file(folder, ".gif")
        write_reveal(animation, answer.order, answer.probability)
    return (255 * answer.probability).astype("uint8"), answer.edges.astype("uint8") * 255, animation


def _cut_out(answer: MaskAnswer, photo: Path, folder: Path) -> tuple[tuple[Picture, Picture, Picture], Path]:
    """Mask, cut-out and outline as they are shown, and the cut-out as it is taken away."""
    from edgebench.data.images import read_layers, write_map_png
    from edgebench.stages.photos.cutout import cut_out, on_checkerboard, write_cutout

    layers = read_layers(photo)
    cutout, file = cut_out(layers, answer.mask, answer.soft), folder / f"{photo.stem}-cutout.png"
    write_cutout(file, cutout, layers.profile)
    outline = None
    if answer.outline is not None:
        outline = _new_file(folder, ".png")
        write_map_png(outline, answer.outline)
    return ((255 * answer.mask).astype("uint8"), on_checkerboard(cutout), outline), file


def _new_file(folder: Path, suffix: str) -> Path:
    handle, name = tempfile.mkstemp(suffix=suffix, dir=folder)
    os.close(handle)
    return Path(name)


def _stamp(choices: dict[str, Any]) -> int:
    """Changes when the weight file is replaced, so that a network in memory is not taken for it."""
    path = Path(choices.get("weights") or "")
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=2)
def _detector(method: str, stamp: int, choices: tuple[tuple[str, Any], ...]) -> Detector:
    from edgebench.stages.photos import METHODS

    return METHODS[method](**dict(choices))


def launch_options() -> dict[str, Any]:
    """How the page is served: to nobody else, recording and loading nothing from elsewhere."""
    import gradio

    return {
        "share": False,
        "quiet": True,
        "show_error": True,
        "max_file_size": LARGEST_UPLOAD,
        "run_history": False,
        "footer_links": [],
        "theme": gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
    }


def build(root: Path) -> gradio.Blocks:
    """The page, with the weights that are found below `root`.

    Raises:
        EdgebenchError: Gradio is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import gradio
    except ImportError as error:
        raise EdgebenchError(
            f"the page needs Gradio ({error}). Type `pip install '.[app]'`; `edgebench predict` does the same "
            f"without it."
        ) from None
    from edgebench.stages.photos import METHODS
    from edgebench.stages.weights import trained_weights

    controls = all_controls(trained_weights(root))
    methods = list(METHODS)
    folder = tempfile.TemporaryDirectory(prefix="edgebench-app-")

    with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(FORGET_SECONDS, FORGET_SECONDS)) as page:
        gradio.Markdown(f"## {TITLE}")
        with gradio.Row():
            with gradio.Column(scale=1):
                photo = gradio.Image(
                    label="Photograph", type="filepath", image_mode=None, sources=["upload", "clipboard"]
                )
                # The file as it came: edgebench reads more kinds than the component, and says what is wrong with one.
                photo.preprocess = lambda upload: upload.path if upload else None
                button = gradio.Button("Go", variant="primary")
                method = gradio.Dropdown(methods, value=methods[0], label="Method")
                components = [
                    getattr(gradio, each.component)(**each.settings, visible=each.serves(methods[0]))
                    for each in controls
                ]
            with gradio.Column(scale=2):
                text = gradio.Textbox(label="Summary", interactive=False)
                (first, second, third), (may_have_third, may_have_cutout) = titles_of(methods[0])
                still = {"format": "png", "interactive": False, "buttons": BUTTONS}
                with gradio.Row():
                    pictures = [gradio.Image(label=first, **still), gradio.Image(label=second, **still)]
                cutout = gradio.File(
                    label="Cut-out to take away (PNG with alpha)", interactive=False, visible=may_have_cutout
                )
                # Files, which are shown as they are.
                pictures.append(gradio.Image(label=third, visible=may_have_third, **{**still, "format": "gif"}))

        def shown(chosen: str) -> list[Any]:
            titles, (third, takeaway) = titles_of(chosen)
            return [
                *(gradio.update(visible=each.serves(chosen)) for each in controls),
                *(
                    gradio.update(label=title, value=None, visible=visible)
                    for title, visible in zip(titles, (True, True, third), strict=True)
                ),
                gradio.update(value=None, visible=takeaway),
            ]

        def find(path: str | None, chosen: str, *values: Any) -> tuple[Any, ...]:
            for old in Path(folder.name).iterdir():  # the page has its own copy by now
                old.unlink()
            choices = chosen_values(chosen, controls, values)
            try:
                reply = respond(Path(path) if path else None, chosen, choices, Path(folder.name))
            except EdgebenchError as error:
                message = str(error).replace(f"{path}", Path(path or "").name)  # where uploads lie interests nobody
                raise gradio.Error(message, title="This did not work", print_exception=False) from error
            files = [str(each) if isinstance(each, Path) else each for each in (*reply.pictures, reply.cutout)]
            return (*files, reply.text)

        # One at a time: a second network in memory would help nobody.
        method.change(shown, method, [*components, *pictures, cutout], api_visibility="private")
        button.click(
            find,
            [photo, method, *components],
            [*pictures, cutout, text],
            concurrency_limit=1,
            api_name="find",
        )
    page.queue(max_size=WAITING)
    return page
