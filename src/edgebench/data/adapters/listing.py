"""Finding the images of a folder, and saying clearly what does not fit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from edgebench.data.images import IMAGE_SUFFIXES
from edgebench.errors import DataError, nearest


def walk_files(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> Iterator[Path]:
    """Yield the files below `folder` with one of `suffixes`; hidden files and folders are left out.

    Links to folders are followed, each folder once.
    """
    suffixes = frozenset(suffixes)
    seen = set()
    for current, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                yield Path(current, name)


def files_below(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> Iterator[tuple[str, Path]]:
    """Id and path of the files below `folder`: the id is the path from there without suffix, `/` as `__`."""
    for path in walk_files(folder, suffixes):
        yield "__".join(path.relative_to(folder).with_suffix("").parts), path


def smallest_digests(ids: Iterable[str], count: int) -> set[str]:
    """The `count` ids whose SHA-256 is smallest: a choice that is fixed for everybody, whatever the order given."""
    return set(sorted(ids, key=lambda each: hashlib.sha256(each.encode()).hexdigest())[:count])


def unpacked(folder: Path, inner: str, parts: Iterable[str]) -> Path:
    """Where an archive's `parts` lie: in `folder`, or in the folder `inner` of it; people name either.

    Raises:
        DataError: neither holds one of them.
    """
    parts = list(parts)
    for place in (folder, folder / inner):
        if any((place / part).is_dir() for part in parts):
            return place
    raise DataError(
        f"{folder}: another layout than {inner}'s. It holds {parts[0]} and so on, or a folder {inner} that does; name "
        f"the folder that was unpacked with `edgebench fetch NAME --mirror FOLDER`."
    )


def require_folder(folder: Path) -> None:
    """Raise a DataError that says how to get the data when `folder` is not there."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Type `edgebench fetch NAME` for the data set, or correct the path.")


def split_folder(folder: Path, split: str, besides: Collection[str] = ()) -> Path:
    """The folder of a split where each has one, called like it; `besides` are folders that are no splits.

    Raises:
        DataError: there is none; the message names a similar one.
    """
    require_folder(folder)
    if not (folder / split).is_dir() or split in besides:
        known = [path.name for path in sorted(folder.iterdir()) if path.is_dir() and path.name not in besides]
        raise DataError(f"{folder}: no split '{split}'.{nearest(split, known)}")
    return folder / split


def index_by_id(pairs: Iterable[tuple[str, Path]], folder: Path) -> dict[str, Path]:
    """Map ids to files in ASCII order of the ids.

    Raises:
        DataError: no image at all, or two files with one id.
    """
    paths: dict[str, Path] = {}
    for image_id, path in pairs:
        if image_id in paths:
            raise DataError(f"{path} and {paths[image_id]} would both have the id {image_id!r}. Rename or remove one.")
        paths[image_id] = path
    if not paths:
        raise DataError(f"{folder}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}). Check the path.")
    return dict(sorted(paths.items()))


def find_path(paths: dict[str, Path], image_id: str, folder: Path) -> Path:
    """The file of an id.

    Raises:
        DataError: there is none.
    """
    if image_id not in paths:
        raise DataError(f"{folder}: no image with the id {image_id!r} among {len(paths)}.")
    return paths[image_id]


def some_names(names: Iterable[str], limit: int = 5) -> str:
    """The first names in ASCII order, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + more
