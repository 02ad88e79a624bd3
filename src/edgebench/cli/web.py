"""`edgebench app`: a page on this machine that does for one photograph what `edgebench predict` does for many."""

from __future__ import annotations

import inspect
import os
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebench.cli.options import Root
from edgebench.errors import ConfigError, EdgebenchError

if TYPE_CHECKING:
    import gradio
    import numpy as np

    from edgebench.stages.photos.answers import Detector

BUTTONS = ["download", "fullscreen"]  # no button that shares pictures with a public site
LARGEST_UPLOAD = "40mb"
WAITING = 8
"""Requests that may wait for their turn; one is worked on at a time."""

FORGET_SECONDS = 3600
TITLE = "edgebench: edges of a photograph"


def app(
    host: Annotated[
        str, typer.Option(help="Address to listen at. The default lets nobody but this machine in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes any that is free.")] = 7860,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    root: Root = Path("."),
) -> None:
    """A page for one photograph: choose a method, see probability, edges and the reveal.

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


@dataclass(frozen=True)
class Reply:
    """What the page shows.

    Attributes:
        probability: float (H, W) in [0, 1].
        edges: bool (H, W).
        animation: GIF of the reveal, when there is one.
        text: Method, size, rounds and seconds.
    """

    probability: np.ndarray
    edges: np.ndarray
    animation: Path | None
    text: str


def respond(photo: Path | None, method: str, choices: dict[str, Any], folder: Path) -> Reply:
    """Edges of a photograph by a method.

    Args:
        photo: Image file; None when none was given.
        method: One of `edgebench.stages.photos.METHODS`.
        choices: Values by the names of the method's arguments; others are left aside.
        folder: Where an animation may be written.

    Raises:
        EdgebenchError: the photograph or a choice cannot be used.
    """
    from edgebench.data.images import read_image
    from edgebench.stages.photos import METHODS
    from edgebench.stages.photos.answers import ask

    if photo is None:
        raise ConfigError("Choose a photograph first.")
    if method not in METHODS:
        raise ConfigError(f"method {method!r}: there is no such method.")
    taken = {name: choices[name] for name in arguments(method) if name in choices}
    if "weights" in arguments(method) and not taken.get("weights"):
        raise ConfigError(
            "There are no weights yet: `make demo` trains some, `edgebench fetch memo_bsds_late` loads some."
        )
    image = read_image(photo)
    start = time.perf_counter()
    detector = _detector(method, _stamp(taken), tuple(taken.items()))
    loaded = time.perf_counter()
    (found,) = ask(detector, [image], [photo.stem])
    seconds = time.perf_counter() - loaded
    animation = None
    if found.order is not None:
        from edgebench.methods.memo.frames import write_reveal

        handle, name = tempfile.mkstemp(suffix=".gif", dir=folder)
        os.close(handle)
        animation = Path(name)
        write_reveal(animation, found.order, found.probability)
    height, width = image.shape[:2]
    parts = [f"{method}: {width} x {height} pixels", f"{seconds:.2f} s"]
    if found.rounds is not None:
        parts.insert(1, f"{found.rounds} rounds")
    if loaded - start > 0.5:
        parts.append(f"{loaded - start:.1f} s to load the network")
    parts.append(f"{100 * found.edges.mean():.1f} % of the pixels are edges")
    return Reply(found.probability, found.edges, animation, ", ".join(parts))


def arguments(method: str) -> list[str]:
    """Names of what a method can be told."""
    from edgebench.stages.photos import METHODS

    return list(inspect.signature(METHODS[method]).parameters)


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

    weights = [(label, str(path)) for label, path in trained_weights(root).items()]
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
                button = gradio.Button("Find edges", variant="primary")
                method = gradio.Dropdown(methods, value=methods[0], label="Method")
                controls = _controls(gradio, weights, methods[0])
            with gradio.Column(scale=2):
                text = gradio.Textbox(label="Summary", interactive=False)
                with gradio.Row():
                    probability = gradio.Image(
                        label="Probability (bright = edge)", format="png", interactive=False, buttons=BUTTONS
                    )
                    edges = gradio.Image(label="Edges", format="png", interactive=False, buttons=BUTTONS)
                animation = gradio.Image(label="Reveal", format="gif", interactive=False, buttons=BUTTONS)

        def shown(chosen: str) -> list[Any]:
            names = arguments(chosen)
            return [gradio.update(visible=name in names) for name in controls] + [
                gradio.update(visible="frames" in names, value=None)
            ]

        def find(path: str | None, chosen: str, *values: Any) -> tuple[Any, ...]:
            for old in Path(folder.name).iterdir():  # the page has its own copy by now
                old.unlink()
            choices = dict(zip(controls, values, strict=True))
            try:
                reply = respond(Path(path) if path else None, chosen, choices, Path(folder.name))
            except EdgebenchError as error:
                message = str(error).replace(f"{path}", Path(path or "").name)  # where uploads lie interests nobody
                raise gradio.Error(message, title="This did not work", print_exception=False) from error
            return (
                (255 * reply.probability).astype("uint8"),
                reply.edges.astype("uint8") * 255,
                str(reply.animation) if reply.animation else None,
                reply.text,
            )

        # One at a time: a second network in memory would help nobody.
        method.change(shown, method, [*controls.values(), animation], api_visibility="private")
        button.click(
            find,
            [photo, method, *controls.values()],
            [probability, edges, animation, text],
            concurrency_limit=1,
            api_name="find",
        )
    page.queue(max_size=WAITING)
    return page


def _controls(gradio: Any, weights: list[tuple[str, str]], first: str) -> dict[str, Any]:
    """What can be chosen, by the names of the methods' arguments; those of the method `first` are visible."""
    controls = {
        "weights": gradio.Dropdown(
            weights,
            value=weights[0][1] if weights else None,
            label="Weights",
            info="Found below results/." if weights else "None found: `make demo` trains some.",
        ),
        "steps": gradio.Dropdown(
            ["5", "10", "20", "50", "adaptive", "full"],
            value="10",
            label="Steps",
            info="Rounds of the network; the time grows with them.",
        ),
        "guidance": gradio.Slider(
            1, 3, value=1.4, step=0.1, label="Guidance", info="Higher draws more edges; above 1 a round costs double."
        ),
        "reveal": gradio.Dropdown(["locmax", "topk", "random"], value="locmax", label="Reveal"),
        "long_side": gradio.Slider(
            0,
            1024,
            value=320,
            step=32,
            label="Long side",
            info="Larger photographs are made smaller first, which is much faster; 0 leaves them as they are.",
        ),
        "tile": gradio.Dropdown(
            [("no tiles", 0), ("512", 512), ("768", 768), ("1024", 1024)],
            value=0,
            label="Tiles",
            info="Photographs longer than this are cut into pieces: all the detail (with long side 0) in little "
            "memory, but the network no longer sees the whole.",
        ),
        "device": gradio.Dropdown(["auto", "cpu", "cuda"], value="auto", label="Device"),
        "frames": gradio.Checkbox(value=True, label="Animation of the reveal"),
        "sigma": gradio.Slider(0.5, 5, value=1, step=0.1, label="Smoothing (pixels)"),
        "low": gradio.Slider(0, 0.5, value=0.1, step=0.01, label="Low threshold"),
        "high": gradio.Slider(0, 0.5, value=0.2, step=0.01, label="High threshold"),
        "threshold": gradio.Slider(0, 0.7, value=0.1, step=0.01, label="Threshold"),
    }
    for name, control in controls.items():
        control.visible = name in arguments(first)
    return controls
