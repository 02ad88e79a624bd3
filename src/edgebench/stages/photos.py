"""Edge maps of one's own photographs, by any method: what `edgebench predict` and `edgebench app` share."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgebench.data.adapters.listing import walk_files
from edgebench.data.images import IMAGE_SUFFIXES, read_image, write_map_png
from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.files import read_json, sha256_file, write_json
from edgebench.progress import Display
from edgebench.stages.record import code, machine

RECORD = "predict.json"
RECORD_EVERY_SECONDS = 5.0
_CONVERT = "not a kind of image that is read; save it as JPEG or PNG"
NOT_READ = {
    ".gif": "animations are not read; save the frame that you want as PNG",
    ".svg": "a drawing, not pixels; export it as PNG",
    **dict.fromkeys((".heic", ".heif", ".avif", ".jxl", ".jfif", ".jp2", ".psd", ".exr", ".tga"), _CONVERT),
    **dict.fromkeys(
        (".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw"),
        "a camera's raw file; develop it to JPEG, PNG or TIFF",
    ),
}
"""Why pictures with such suffixes are not read, and what to do."""

PROBABILITY, EDGES, REVEAL = "prediction", "binarized", "frames"
MAPS = {PROBABILITY: ".png", EDGES: ".png", REVEAL: ".gif"}
"""What is written: a folder for each kind, and its suffix."""

WAITING_BYTES = 200_000_000
"""Photographs that wait for others of their size take at most so much memory."""

LARGE_PIXELS = 1_500_000
Photo = NDArray[np.uint8]


@dataclass(frozen=True)
class Found:
    """What a method says about one photograph.

    Attributes:
        probability: Float (H, W) in [0, 1], of an edge.
        edges: Bool (H, W).
        rounds: Reveal steps, for methods that have them.
        order: uint16 (H, W), the step at which each pixel was revealed, when it was asked for.
    """

    probability: NDArray[np.floating]
    edges: NDArray[np.bool_]
    rounds: int | None = None
    order: NDArray[np.uint16] | None = None


@dataclass(frozen=True)
class Detector:
    """A method with its settings, ready for photographs.

    Attributes:
        method: Its name.
        settings: What decides its result; it is recorded, and results of other settings are not mixed with these.
        detect: Images uint8 (H, W, 3) and their names in, one answer each out.
        weights: Its weight file.
        batch: Images that it takes at a time.
        group: Images share a batch when this is equal, given height and width.
        advice: What to say before a large photograph, or nothing for methods that are fast at any size.
    """

    method: str
    settings: dict[str, Any]
    detect: Callable[[list[Photo], list[str]], list[Found]]
    weights: Path | None = None
    batch: int = 1
    group: Callable[[int, int], tuple[int, int]] = lambda height, width: (height, width)
    advice: str = ""


# Methods: each function takes what a person can choose and returns a Detector. The command has a subcommand for
# each, and the page shows a control for each argument.


def memo(
    weights: Path,
    *,
    steps: int | str = 10,
    reveal: Literal["locmax", "topk", "random"] = "locmax",
    guidance: float = 1.4,
    compat: Literal["edgebench", "official", "native"] = "edgebench",
    confidence_threshold: float = 0.5,
    dino_size: Literal["fixed", "adaptive"] = "fixed",
    long_side: int | None = None,
    tile: int | None = None,
    scales: Sequence[float] = (1.0,),
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    batch: int = 4,
    seed: int = 0,
    frames: bool = False,
) -> Detector:
    """MEMO with the weights of a safetensors file.

    Args:
        weights: File that `edgebench.methods.memo.weights.load_network` reads.
        steps: Rounds of the network (a number may come as text), "full" or "adaptive".
        reveal: Which pixels a round reveals.
        guidance: Scale of classifier-free guidance, at least 1.
        compat: Which of the authors' programs to follow.
        confidence_threshold: locmax reveals only what is surer than this; 0.5 is no threshold.
        dino_size: What DINOv2 sees: the size that the network was built for, or the photograph's own.
        long_side: Photographs with a longer side, in pixels, are made smaller first; 0 does not.
        tile: Side of the tiles into which larger photographs are cut, a multiple of 32; 0 does not.
        scales: The logits are averaged over the photograph at these scales.
        device: auto, cpu or cuda.
        precision: Of the network.
        batch: Photographs of one size, once padded, that share a pass; compat official takes one.
        seed: Of the random reveal, and of what compat official draws.
        frames: Keep the order in which pixels were revealed.

    Raises:
        ConfigError: a value is out of range.
        DataError: the weights are missing, damaged or of another method.
    """
    from edgebench.methods.memo.frames import RevealOrder
    from edgebench.methods.memo.predictor import Predictor
    from edgebench.methods.memo.reveal import RevealSettings
    from edgebench.methods.memo.tiles import padded_size
    from edgebench.methods.memo.weights import load_network
    from edgebench.stages.predict import choose_device

    steps = int(steps) if str(steps).isdecimal() else steps
    long_side, tile = long_side or None, tile or None
    if compat == "official":
        batch = 1  # it draws for a batch in turn, so that a map would depend on what else is left to do
    predictor = Predictor(
        load_network(weights),
        RevealSettings(reveal, steps, compat, confidence_threshold),  # type: ignore[arg-type]
        guidance=guidance,
        device=choose_device(device),
        precision=precision,
        batch_size=batch,
        seed=seed,
        long_side=long_side,
        tile=tile,
        scales=scales,
        dino_size=dino_size,
    )

    def detect(images: list[Photo], names: list[str]) -> list[Found]:
        recorder = RevealOrder() if frames else None
        predictions = predictor.predict(images, names, on_frame=recorder)
        return [
            Found(each.probability, each.edges > 0, each.rounds, recorder.orders[name] if recorder else None)
            for name, each in zip(names, predictions, strict=True)
        ]

    settings = {
        "steps": steps, "reveal": reveal, "guidance": guidance, "compat": compat,
        "confidence_threshold": confidence_threshold, "dino_size": dino_size, "long_side": long_side, "tile": tile,
        "scales": list(predictor.scales), "device": str(predictor.device), "precision": precision, "seed": seed,
    }  # fmt: skip
    large = "" if long_side or tile else "--long-side 640 makes it smaller first, --tile 512 cuts it into pieces."
    return Detector("memo", settings, detect, weights, batch, partial(padded_size, long_side=long_side), large)


def canny(*, sigma: float = 1.0, low: float = 0.1, high: float = 0.2) -> Detector:
    """Canny's detector.

    Args:
        sigma: Standard deviation of the smoothing, pixels.
        low: Gradient from which an edge goes on, for grey values in [0, 1].
        high: Gradient from which an edge begins.

    Raises:
        ConfigError: `sigma` is not positive and finite, or `low` is above `high`.
    """
    from edgebench.methods.baselines.canny import canny_edges

    if not 0 < sigma < math.inf:
        raise ConfigError(f"sigma {sigma:g}: give a finite number above 0.")
    if not 0 <= low <= high:
        raise ConfigError(f"low {low:g} and high {high:g}: give thresholds from 0, low not above high.")

    def detect(images: list[Photo], names: list[str]) -> list[Found]:
        return [Found(edges, edges > 0) for edges in (canny_edges(image, sigma, low, high) for image in images)]

    return Detector("canny", {"sigma": sigma, "low": low, "high": high}, detect)


def sobel(*, threshold: float = 0.1) -> Detector:
    """Sobel's gradient, a soft map; an edge is where it reaches a threshold.

    Args:
        threshold: In [0, 1]; a step from black to white along an axis gives 0.71.

    Raises:
        ConfigError: the threshold is out of range.
    """
    from edgebench.methods.baselines.sobel import sobel_edges

    if not 0 <= threshold <= 1:
        raise ConfigError(f"threshold {threshold:g}: give a number from 0 to 1.")

    def detect(images: list[Photo], names: list[str]) -> list[Found]:
        return [Found(edges, edges >= threshold) for edges in map(sobel_edges, images)]

    return Detector("sobel", {"threshold": threshold}, detect)


def mask_edges(
    *,
    generator: Literal["felzenszwalb", "sam2", "sam"] = "felzenszwalb",
    generator_weights: Path | None = None,
    precision: Literal["fp32", "fp16", "bf16"] = "fp32",
    device: str = "auto",
) -> Detector:
    """Borders of mask proposals, as MEMO's pre-training edges are made.

    Args:
        generator: What proposes the masks: a classical segmenter, or one of the released models.
        generator_weights: Folder of the model in the form of transformers; None for the classical segmenter.
        precision: Of the model.
        device: auto, cpu or cuda.

    Raises:
        ConfigError: a model without weights, or weights without a model.
        DataError: the weights are missing or damaged.
    """
    from edgebench.methods.sam.edges import edges_from_masks

    if (generator == "felzenszwalb") != (generator_weights is None):
        raise ConfigError(f"generator {generator} {'needs' if generator_weights is None else 'takes no'} weights.")
    settings: dict[str, Any] = {"generator": generator}
    propose: Callable[[Photo], list[Any]]
    weights = None
    if generator_weights is None:
        from edgebench.methods.sam.proposals import classical_masks

        propose = classical_masks
    else:
        from edgebench.methods.sam.generator import propose_masks
        from edgebench.methods.sam.scorer import load_scorer
        from edgebench.stages.predict import choose_device

        settings |= {"precision": precision, "device": choose_device(device)}
        weights = generator_weights / "model.safetensors"
        propose = partial(
            propose_masks,
            scorer=load_scorer(generator, generator_weights, settings["device"], precision),  # type: ignore[arg-type]
        )

    def detect(images: list[Photo], names: list[str]) -> list[Found]:
        maps = [edges_from_masks([propose(image)], image.shape[:2]) for image in images]
        return [Found((levels > 0).astype(np.float32), levels > 0) for levels in maps]

    return Detector("mask-edges", settings, detect, weights)


METHODS: dict[str, Callable[..., Detector]] = {"memo": memo, "canny": canny, "sobel": sobel, "mask-edges": mask_edges}


def trained_weights(root: Path) -> dict[str, Path]:
    """Weight files of MEMO that lie below `root`, the newest first, by a label that says where they come from."""
    from safetensors import SafetensorError, safe_open

    from edgebench.methods.memo.weights import METHOD

    files = sorted((root / "results" / "runs").glob("*/*/weights.safetensors"), key=lambda path: -path.stat().st_mtime)
    found = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as opened:
                method = (opened.metadata() or {}).get("method")
        except (SafetensorError, OSError):
            continue  # a damaged file is no choice; naming it is a matter for who asks for it
        if method == METHOD:
            found[f"{path.parent.parent.name}: {path.parent.name}"] = path
    return found


# Folders


@dataclass
class Summary:
    """What became of the photographs.

    Attributes:
        done: Names of the maps made now.
        there: Names of the maps that were there before.
        failed: Reason by photograph.
        seconds: Typical seconds per photograph (median), None when none was made.
        folders: What lies where, by what it is.
    """

    done: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float | None = None
    folders: dict[str, Path] = field(default_factory=dict)


def find_photos(photos: Path, output: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Photographs by the name of their maps: the path below the folder `photos`, without suffix.

    Returns:
        The photographs, and by photograph the reason why one cannot be taken: its kind is not read, or its map would
        be that of another. What lies where maps in `output` lie is left out: maps are no photographs.

    Raises:
        ConfigError: the maps would replace what they are made from.
        DataError: there is no such file or folder, or the folder holds no image.
    """
    if photos.is_file():
        if _is_map(photos, output):
            raise ConfigError(f"{photos}: lies where its own map would be written. Give another --output.")
        reason = NOT_READ.get(photos.suffix.lower())
        return ({}, {str(photos): reason}) if reason else ({photos.stem: photos}, {})
    if not photos.is_dir():
        raise DataError(f"{photos}: no such file or folder. Check the name.")
    found: dict[str, Path] = {}
    refused: dict[str, str] = {}
    maps = 0
    for path in walk_files(photos, IMAGE_SUFFIXES | NOT_READ.keys()):
        if _is_map(path, output):
            maps += 1
            continue
        if reason := NOT_READ.get(path.suffix.lower()):
            refused[str(path)] = reason
            continue
        name = path.relative_to(photos).with_suffix("").as_posix()
        if name in found:
            refused[str(path)] = f"its map would replace that of {found[name]}; rename one of them"
        else:
            found[name] = path
    if found or refused:
        return found, refused
    if maps:
        raise ConfigError(f"{photos}: holds nothing but {maps} maps of {output}. Name a folder of photographs.")
    raise DataError(f"{photos}: holds no image (.jpg, .png, .tif, .webp, .bmp ...). Check the path.")


def _is_map(path: Path, output: Path) -> bool:
    """Whether a file lies where maps in `output` lie, and is of their kind."""
    real = path.resolve()
    return any(
        real.suffix.lower() == suffix and (output / kind).resolve() in real.parents for kind, suffix in MAPS.items()
    )


def predict_photos(detector: Detector, photos: Path, output: Path, overwrite: bool, frames: bool = False) -> Summary:
    """Write the maps of one photograph or of a folder of them, sub folders included.

    `prediction/NAME.png` holds the probability (8 bits, bright = edge), `binarized/NAME.png` 0 and 255, and
    with `frames` `frames/NAME.gif` the reveal; `predict.json` says what made them. A photograph whose maps are
    there already, by the record, is passed over; one whose map would replace that of another is refused. One that
    cannot be read or predicted does not stop the others.

    Args:
        detector: Method and settings.
        photos: An image file or a folder.
        output: Folder to write to.
        overwrite: Make all maps again, whatever is there.
        frames: Write the reveal too; the detector must keep its order.

    Raises:
        ConfigError: `output` holds maps of another method or of other settings.
        DataError: there is no photograph.
    """
    found, refused = find_photos(photos, output)
    record = _Record(output, detector, overwrite)
    folders = {"probability": output / PROBABILITY, "edges (0 or 255)": output / EDGES}
    if frames:
        folders["reveal"] = output / REVEAL
    summary = Summary(failed=refused.copy(), folders=folders)

    def files(name: str) -> list[Path]:
        return [folder / f"{name}{MAPS[folder.name]}" for folder in folders.values()]

    todo = []
    for name, path in found.items():
        there = [file.is_file() for file in files(name)]
        same = record.has(name, path)
        if same and all(there):
            summary.there.append(name)
        elif any(there) and not same and (other := record.other(name, path)):
            summary.failed[str(path)] = f"its map would replace that of {other}; give another folder, or --overwrite"
        else:
            todo.append(name)
    passed, before = len(found) - len(todo), len(summary.failed)
    try:
        with Display(detector.method, len(found), passed) as display:
            for batch in _batches(todo, found, detector, summary.failed):
                for name, answer in _answers(detector, batch, found, summary.failed):
                    answer.write(files(name))
                    record.add(name, found[name], answer)
                    summary.done.append(name)
                display.update(passed + len(summary.done) + len(summary.failed) - before)
    finally:
        record.write(summary.failed)
    if summary.done:
        summary.seconds = statistics.median(record.images[name]["seconds"] for name in summary.done)
    return summary


Batch = list[tuple[str, Photo]]


def _batches(
    names: Sequence[str], paths: dict[str, Path], detector: Detector, failed: dict[str, str]
) -> Iterator[Batch]:
    """Read photographs and give them out in batches of a group, holding few of them at a time."""
    waiting: dict[tuple[int, int], Batch] = {}
    advised = not detector.advice
    for name in names:
        try:
            image = read_image(paths[name])
        except DataError as error:
            failed[str(paths[name])] = _reason(error, paths[name])
            continue
        height, width = image.shape[:2]
        if not advised and height * width > LARGE_PIXELS:
            size = f"{width} x {height} pixels will take long and much memory"
            print(f"{paths[name]}: {size}; {detector.advice}", file=sys.stderr)
            advised = True
        group = detector.group(height, width)
        waiting.setdefault(group, []).append((name, image))
        if len(waiting[group]) == detector.batch:
            yield waiting.pop(group)
        while sum(image.size for each in waiting.values() for _, image in each) > WAITING_BYTES:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


@dataclass(frozen=True)
class _Answer:
    found: Found
    seconds: float

    def write(self, files: list[Path]) -> None:
        write_map_png(files[0], self.found.probability)
        write_map_png(files[1], self.found.edges.astype(np.float32))
        if len(files) > 2:
            from edgebench.methods.memo.frames import write_reveal

            assert self.found.order is not None
            write_reveal(files[2], self.found.order, self.found.probability)


def _answers(
    detector: Detector, batch: Batch, paths: dict[str, Path], failed: dict[str, str]
) -> Iterator[tuple[str, _Answer]]:
    """Answers of a batch; when it fails, each photograph is tried alone, so that the bad one is known."""
    start = time.perf_counter()
    try:
        found = detect(detector, [image for _, image in batch], [name for name, _ in batch])
    except EdgebenchError as error:
        if len(batch) == 1:
            failed[str(paths[batch[0][0]])] = _reason(error, Path(batch[0][0]))
        else:
            for each in batch:
                yield from _answers(detector, [each], paths, failed)
        return
    seconds = (time.perf_counter() - start) / len(batch)
    for (name, _), answer in zip(batch, found, strict=True):
        yield name, _Answer(answer, seconds)


def detect(detector: Detector, images: list[Photo], names: list[str]) -> list[Found]:
    """Answers of a method, checked to be numbers.

    Args:
        detector: Method and settings.
        images: uint8 (H, W, 3) RGB each.
        names: One per image, for messages.

    Raises:
        EdgebenchError: the answer is not a number, or memory does not suffice.
    """
    try:
        found = detector.detect(images, names)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error).lower():
            raise
        height, width = images[0].shape[:2]
        raise EdgebenchError(
            f"{names[0]}: not enough memory for {len(images)} of {width} x {height} pixels. "
            f"{detector.advice or 'Make it smaller.'}"
        ) from error
    for name, each in zip(names, found, strict=True):
        if not np.isfinite(each.probability).all():
            raise EdgebenchError(f"{name}: the answer is not a number. Check the weights, or use precision fp32.")
    return found


def _reason(error: EdgebenchError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


class _Record:
    """`predict.json`: what made the maps of a folder, kept up to date while they are made."""

    def __init__(self, output: Path, detector: Detector, overwrite: bool) -> None:
        self.path = output / RECORD
        weights = None
        if detector.weights is not None:
            weights = {"file": str(detector.weights.resolve()), "sha256": sha256_file(detector.weights)}
        self.content: dict[str, Any] = {"method": detector.method, "settings": detector.settings, "weights": weights}
        self.images: dict[str, dict[str, Any]] = {}
        self.written = time.monotonic()
        self.overwrite = overwrite
        if output.exists() and not output.is_dir():
            raise ConfigError(f"{output}: is a file, where a folder for the maps was expected. Give another name.")
        if self.path.exists():
            self._continue(read_json(self.path), output)

    def _continue(self, before: Any, output: Path) -> None:
        """Keep what is known of maps that were made in the same way; others are in the way."""
        try:
            earlier, images = self._ways(before), before["images"]
        except (KeyError, TypeError, AttributeError):
            raise DataError(f"{self.path}: not a record of edgebench. Give another folder for the maps.") from None
        now = self._ways(self.content)
        differing = [key for key in earlier | now if earlier.get(key) != now.get(key)]
        if not differing:
            self.images = images
        elif not self.overwrite:
            how = ", ".join(f"{key} {earlier.get(key)}, now {now.get(key)}" for key in differing)
            raise ConfigError(
                f"{output}: holds maps that were made differently ({how}). Give another folder, or --overwrite to "
                f"make the maps of these photographs again."
            )

    @staticmethod
    def _ways(content: dict[str, Any]) -> dict[str, Any]:
        """What decides a map; the device does not."""
        settings = {key: value for key, value in content["settings"].items() if key != "device"}
        weights = content["weights"]["sha256"][:10] if content["weights"] else None
        return {"method": content["method"], "weights": weights, **settings}

    def has(self, name: str, photo: Path) -> bool:
        """Whether the maps of `name` were made from this very photograph."""
        return not self.overwrite and name in self.images and self.images[name]["sha256"] == sha256_file(photo)

    def other(self, name: str, photo: Path) -> str | None:
        """The photograph of another place of which the map of `name` was made, if it may not be replaced."""
        if self.overwrite or name not in self.images:
            return None
        made_from: str = self.images[name]["photo"]
        return None if Path(made_from).resolve() == photo.resolve() else made_from

    def add(self, name: str, photo: Path, answer: _Answer) -> None:
        height, width = answer.found.probability.shape
        self.images[name] = {
            "photo": str(photo.resolve()), "sha256": sha256_file(photo), "height": height, "width": width,
            "seconds": round(answer.seconds, 4), "rounds": answer.found.rounds,
        }  # fmt: skip
        if time.monotonic() - self.written > RECORD_EVERY_SECONDS:
            self.write({})

    def write(self, failed: dict[str, str]) -> None:
        content = {**self.content, "images": self.images, "failed": failed, "code": code(), "machine": machine()}
        write_json(self.path, content)
        self.written = time.monotonic()
