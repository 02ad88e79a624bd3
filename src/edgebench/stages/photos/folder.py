"""A photograph, or a folder of them: what is made, passed over, refused."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgebench.data.adapters.listing import walk_files
from edgebench.data.images import IMAGE_SUFFIXES, read_image
from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.progress import Display
from edgebench.stages.photos.answers import SUFFIXES, Answer, Detector, Photo, ask
from edgebench.stages.photos.record import Record

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

WAITING_BYTES = 200_000_000
"""Photographs that wait for others of their size take at most so much memory."""

LARGE_PIXELS = 1_500_000


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
        real.suffix.lower() == suffix and (output / kind).resolve() in real.parents for kind, suffix in SUFFIXES.items()
    )


def predict_photos(detector: Detector, photos: Path, output: Path, overwrite: bool) -> Summary:
    """Write what a method says about one photograph or a folder of them, sub folders included.

    Every kind has a folder, `prediction/NAME.png` for example; `predict.json` says what made them. A photograph whose
    maps are there already, by the record, is passed over; one whose map would replace that of another is refused. One
    that cannot be read or predicted does not stop the others.

    Args:
        detector: Method and settings.
        photos: An image file or a folder.
        output: Folder to write to.
        overwrite: Make all maps again, whatever is there.

    Raises:
        ConfigError: `output` holds maps of another method or of other settings.
        DataError: there is no photograph.
    """
    found, refused = find_photos(photos, output)
    record = Record(output, detector, overwrite)
    folders = {title: output / kind for kind, title in detector.kinds.items()}
    summary = Summary(failed=refused.copy(), folders=folders)

    def files(name: str) -> dict[str, Path]:
        return {kind: output / kind / f"{name}{SUFFIXES[kind]}" for kind in detector.kinds}

    todo = []
    for name, path in found.items():
        there = [file.is_file() for file in files(name).values()]
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
                for name, answer, seconds in _answers(detector, batch, found, summary.failed):
                    answer.write(files(name), found[name])
                    record.add(name, found[name], answer, seconds)
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
    advised = not detector.slow
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


def _answers(
    detector: Detector, batch: Batch, paths: dict[str, Path], failed: dict[str, str]
) -> Iterator[tuple[str, Answer, float]]:
    """Names, answers and seconds of a batch; when it fails, each is tried alone, so that the bad one is known."""
    start = time.perf_counter()
    try:
        answers = ask(detector, [image for _, image in batch], [name for name, _ in batch])
    except EdgebenchError as error:
        if len(batch) == 1:
            failed[str(paths[batch[0][0]])] = _reason(error, Path(batch[0][0]))
        else:
            for each in batch:
                yield from _answers(detector, [each], paths, failed)
        return
    seconds = (time.perf_counter() - start) / len(batch)
    for (name, _), answer in zip(batch, answers, strict=True):
        yield name, answer, seconds


def _reason(error: EdgebenchError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
