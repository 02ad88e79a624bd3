"""Training samples out of tar shards beside the same samples out of loose files.

`python benchmarks/bench_shards.py [PAIRS] [MEMBERS]` draws PAIRS images of 512 x 384 with labels (5,000), reads them
in random order both ways, in turns, and prints milliseconds per pair: of the bytes alone, and decoded as training
does it. Then it finds the members of shards with MEMBERS members (400,000) and prints seconds and memory.
`pytest benchmarks/bench_shards.py` checks on a few pairs that both ways give the same samples.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edgebench.data.adapters.folder import FolderDataset
from edgebench.data.adapters.shards import ShardDataset
from edgebench.data.edge_maps import decode_levels, encode_levels
from edgebench.data.packing import pack_folder
from edgebench.data.shards import Shards, fill_shards, split
from edgebench.files import write_bytes
from edgebench.stages.inputs import LabelledBy

ROUNDS = 3
HEIGHT, WIDTH = 384, 512


class Loose:
    """The same pairs as files of their own: the plain way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = FolderDataset(folder / "images")
        self.ids = self.images.ids

    def label_path(self, image_id: str) -> Path:
        return self.folder / "labels" / f"{image_id}.png"

    def image(self, image_id: str) -> np.ndarray:
        return self.images.image(image_id)

    def boundaries(self, image_id: str) -> list[np.ndarray]:
        path = self.label_path(image_id)
        return [decode_levels(path.read_bytes(), path) > 0]


def draw_pairs(folder: Path, count: int) -> None:
    """Smooth coloured noise as JPEG of about 30 kB, and its level lines as labels."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        grain = rng.integers(-8, 9, (HEIGHT, WIDTH, 1))
        pixels = np.clip(image + grain, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="JPEG", quality=85)
        write_bytes(folder / "images" / f"{number:06d}.jpg", buffer.getvalue())
        bands = image[:, :, 0] // 64
        lines = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        lines[:, 1:] |= bands[:, 1:] != bands[:, :-1]
        write_bytes(folder / "labels" / f"{number:06d}.png", encode_levels(lines))


def pack_pairs(folder: Path) -> LabelledBy:
    """The drawn pairs in shards, as `edgebench fetch` and the synthesis write them."""
    pack_folder(folder / "images", folder / "packed", "bench")
    names = sorted(path.name for path in (folder / "labels").iterdir())

    def make(part: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        for name in part:
            yield name, (folder / "labels" / name).read_bytes()

    fill_shards(folder / "run" / "maps", split(names, 500), make, "bench")
    return LabelledBy(ShardDataset(folder / "packed"), folder / "run")


def milliseconds(read: Callable[[str], object], ids: Sequence[str]) -> float:
    start = time.perf_counter()
    for image_id in ids:
        read(image_id)
    return (time.perf_counter() - start) / len(ids) * 1000


def compare(folder: Path) -> list[tuple[str, float, float]]:
    """Per kind of reading the milliseconds per pair of loose files and of shards: medians over the rounds."""
    loose, packed = Loose(folder), pack_pairs(folder)
    images, labels = Shards(folder / "packed", [".jpg"]), Shards(folder / "run" / "maps", [".png"])

    def loose_bytes(image_id: str) -> tuple[bytes, bytes]:
        return (folder / "images" / f"{image_id}.jpg").read_bytes(), loose.label_path(image_id).read_bytes()

    def packed_bytes(image_id: str) -> tuple[bytes, bytes]:
        return images.read(f"{image_id}.jpg"), labels.read(f"{image_id}.png")

    def decoded(dataset: Loose | LabelledBy) -> Callable[[str], object]:
        return lambda image_id: (dataset.image(image_id), dataset.boundaries(image_id))

    rows = []
    for name, one, other in (
        ("bytes", loose_bytes, packed_bytes),
        ("samples", decoded(loose), decoded(packed)),
    ):
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(ROUNDS):
            ids = np.random.default_rng(turn).permutation(loose.ids).tolist()
            # In turns, the first one changing, so that neither always finds what the other has warmed.
            for which, read in sorted(enumerate((one, other)), reverse=bool(turn % 2)):
                times[which].append(milliseconds(read, ids))
        rows.append((name, statistics.median(times[0]), statistics.median(times[1])))
    return rows


def index_cost(folder: Path, members: int) -> tuple[float, float, float]:
    """Seconds, those of the processor, and MiB of finding `members` members, in a process of its own."""
    names = [f"{number:09d}.png" for number in range(members)]
    fill_shards(folder, split(names, 1000), lambda part: [(name, b"x" * 200) for name in part], "bench")
    code = (
        "import resource, sys, time; from pathlib import Path; from edgebench.data.shards import Shards\n"
        "used = lambda: int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize() / 2**20\n"
        "before, busy, start = used(), time.process_time(), time.perf_counter()\n"
        "shards = Shards(Path(sys.argv[1]), ['.png'])\n"
        "print(time.perf_counter() - start, time.process_time() - busy, used() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    seconds, busy, mebibytes = map(float, done.stdout.split())
    return seconds, busy, mebibytes


def test_both_ways_give_the_same_samples(tmp_path: Path) -> None:
    draw_pairs(tmp_path, 6)
    loose, packed = Loose(tmp_path), pack_pairs(tmp_path)
    assert loose.ids == packed.ids
    for image_id in loose.ids:
        np.testing.assert_array_equal(loose.image(image_id), packed.image(image_id))
        np.testing.assert_array_equal(loose.boundaries(image_id)[0], packed.boundaries(image_id)[0])


def main() -> None:
    """Print the comparison."""
    os.environ.setdefault("EDGEBENCH_QUIET", "1")
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    members = int(sys.argv[2]) if len(sys.argv) > 2 else 400_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_pairs(folder, pairs)
        print(f"{pairs} pairs of {WIDTH} x {HEIGHT}, random order, median of {ROUNDS} rounds, ms per pair")
        print(f"{'':10}{'loose':>10}{'shards':>10}{'ratio':>8}")
        for label, loose, packed in compare(folder):
            print(f"{label:10}{loose:10.3f}{packed:10.3f}{loose / packed:8.2f}")
        seconds, busy, mebibytes = index_cost(folder / "many", members)
        print(f"index of {members} members: {seconds:.1f} s ({busy:.1f} s of the processor), {mebibytes:.0f} MiB")


if __name__ == "__main__":
    main()
