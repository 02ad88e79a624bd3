"""Stage `predict`: one edge map per image, written as an 8-bit PNG (bright = edge)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from edgebench.errors import EdgebenchError
from edgebench.files import atomic_path, write_json
from edgebench.progress import track
from edgebench.stages.inputs import FRAMES, map_file, open_input
from edgebench.stages.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np

    from edgebench.data.adapters import Dataset

    # Images and ids of one batch in, one float map (H, W) in [0, 1] per image out.
    Predictor = Callable[[list[np.ndarray], list[str]], list[np.ndarray]]


def predict(spec: RunSpec) -> dict[str, Any]:
    """Write the map of every image of the split; images whose map is there already are passed over.

    Batches hold images of which a method takes several at a time, and are always cut the same way, so that a run
    that was interrupted ends with the files of an undisturbed one.

    Raises:
        EdgebenchError: an image, the weights or brought maps are missing or damaged.
    """
    from edgebench.data.images import write_map_png

    dataset = open_input(spec)
    make, note = _PREDICTORS[spec.settings["method"]](spec, dataset)
    timing = _PerImage(spec.folder / "work" / "seconds.tsv")
    batches = list(_batches(dataset, spec.settings))
    todo = [batch for batch in batches if not all(map_file(spec.folder, each).exists() for each in batch)]
    for ids in track(todo, spec.content["label"], total=len(batches), done=len(batches) - len(todo)):
        images = [dataset.image(each) for each in ids]
        start = time.perf_counter()
        maps = make(images, ids)
        timing.add(ids, [(time.perf_counter() - start) / len(ids)] * len(ids))
        for image_id, edges in zip(ids, maps, strict=True):
            write_map_png(map_file(spec.folder, image_id), edges)
    seconds, rounds = timing.read(dataset.ids), _rounds(spec).read(dataset.ids)
    write_json(spec.folder / "timing.json", seconds)
    # The median: the first images also pay for loading and compiling.
    timed = seconds and spec.settings["method"] != "brought"  # reading files says nothing about their method
    typical = median(seconds.values()) if timed else None
    counted = {"rounds": mean(rounds.values())} if rounds else {}
    return {"n_images": len(dataset.ids), "seconds_per_image": typical, **counted, **note}


def _batches(dataset: Dataset, settings: dict[str, Any]) -> Iterator[list[str]]:
    """Ids of the images that MEMO's network sees at one size; other methods take one image at a time."""
    size = settings.get("batch", 1)
    groups: dict[tuple[int, int] | None, list[str]] = {}
    for image_id in dataset.ids:
        group = None
        if settings["method"] == "memo" and size > 1:
            from edgebench.methods.memo.tiles import padded_size

            group = padded_size(*dataset.size(image_id), settings["long_side"])
        groups.setdefault(group, []).append(image_id)
    for ids in groups.values():
        for first in range(0, len(ids), size):
            yield ids[first : first + size]


class _PerImage:
    """A number per image, appended as batches finish, so that an interrupted run keeps them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, ids: list[str], values: list[float]) -> None:
        with self.path.open("a") as file:
            file.writelines(f"{image_id}\t{value:.6f}\n" for image_id, value in zip(ids, values, strict=True))

    def read(self, ids: list[str]) -> dict[str, float]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        # A line cut off by a kill lacks a part; its image counts without a number.
        known = {parts[0]: float(parts[1]) for line in lines if len(parts := line.split("\t")) == 2 and parts[1]}
        return {image_id: known[image_id] for image_id in ids if image_id in known}


def _rounds(spec: RunSpec) -> _PerImage:
    """Rounds until an image was revealed, for methods that reveal."""
    return _PerImage(spec.folder / "work" / "rounds.tsv")


# Each of these prepares a method and returns its predictor with what the record should say.


def _memo(spec: RunSpec, dataset: Dataset) -> tuple[Predictor, dict[str, Any]]:
    import torch

    from edgebench.methods.memo.frames import RevealOrder
    from edgebench.methods.memo.predictor import Predictor as MemoPredictor
    from edgebench.methods.memo.reveal import RevealSettings
    from edgebench.methods.memo.weights import load_network

    torch.set_num_threads(spec.threads)
    settings = spec.settings
    predictor = MemoPredictor(
        load_network(spec.input("weights") / "weights.safetensors"),
        RevealSettings(
            strategy=settings["reveal"],
            steps=settings["steps"],
            compat=settings["compat"],
            confidence_threshold=settings["confidence_threshold"],
            schedule=settings["schedule"],
        ),
        guidance=settings["guidance"],
        device=choose_device(settings["device"]),
        precision=settings["precision"],
        batch_size=settings["batch"],
        seed=spec.seed,
        long_side=settings["long_side"],
        tile=settings["tile"],
        scales=settings["scales"],
        dino_size=settings["dino_size"],
        compile=settings["compile"],
    )
    kept = set(dataset.ids[: settings["frames"]])

    def make(images: list[np.ndarray], ids: list[str]) -> list[np.ndarray]:
        recorder = RevealOrder() if kept & set(ids) else None
        predictions = predictor.predict(images, ids, recorder)
        _rounds(spec).add(ids, [each.rounds for each in predictions])
        for image_id, each in zip(ids, predictions, strict=True):
            if recorder is not None and image_id in kept:
                _write_frames(spec.folder / FRAMES / f"{image_id}.npz", recorder.orders[image_id], each.probability)
        return [each.probability for each in predictions]

    return make, {}


def _write_frames(path: Path, order: np.ndarray, probability: np.ndarray) -> None:
    """Keep a reveal: `order` (H, W) uint8, or uint16 beyond step 255, and `probability` (H, W) uint8."""
    import numpy as np

    kind = np.uint8 if order.max() <= np.iinfo(np.uint8).max else np.uint16
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, order=order.astype(kind), probability=np.floor(255 * probability).astype(np.uint8)
        )


def choose_device(wanted: str) -> str:
    """`cpu` or `cuda`, whichever `auto` means here.

    Raises:
        EdgebenchError: a GPU is wanted where there is none.
    """
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise EdgebenchError(
            "device: cuda, but PyTorch sees no GPU here. Use `device: auto`; `edgebench doctor` says more."
        )
    return wanted if wanted != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def _sobel(spec: RunSpec, dataset: Dataset) -> tuple[Predictor, dict[str, Any]]:
    from edgebench.methods.baselines.sobel import sobel_edges

    return (lambda images, ids: [sobel_edges(image) for image in images]), {}


def _canny(spec: RunSpec, dataset: Dataset) -> tuple[Predictor, dict[str, Any]]:
    from edgebench.methods.baselines.canny import canny_edges, tune_canny

    settings = spec.settings
    chosen = {name: settings[name] for name in ("sigma", "low", "high")}
    note: dict[str, Any] = {}
    if settings["tune_on"]:
        from edgebench.data.adapters import open_dataset

        definition = spec.content["dataset"]
        training = open_dataset(definition["layout"], spec.input("dataset"), settings["tune_on"])
        ids = training.ids[: settings["tune_limit"]]
        sigma, low, high, score = tune_canny(
            [training.image(each) for each in ids],
            [training.boundaries(each) for each in ids],
            definition["edge_tolerance"],
        )
        chosen = {"sigma": sigma, "low": low, "high": high}
        note = {"tuned": chosen, "tuned_f": score, "tuned_images": len(ids)}
    return (lambda images, ids: [canny_edges(image, **chosen).astype(float) for image in images]), note


def _brought(spec: RunSpec, dataset: Dataset) -> tuple[Predictor, dict[str, Any]]:
    from edgebench.data.edge_maps import maps_by_id, read_edge_map
    from edgebench.errors import DataError

    folder = Path(spec.settings["folder"]).expanduser()
    files = maps_by_id(folder)
    missing = [image_id for image_id in dataset.ids if image_id not in files]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(dataset.ids)} images have no map here, the first is '{missing[0]}'. "
            f"Name the maps like the images, for example {missing[0]}.png."
        )

    def make(images: list[np.ndarray], ids: list[str]) -> list[np.ndarray]:
        maps = [read_edge_map(files[image_id]) for image_id in ids]
        for image, edges, image_id in zip(images, maps, ids, strict=True):
            if image.shape[:2] != edges.shape:
                raise DataError(
                    f"{files[image_id]}: is {edges.shape[1]}x{edges.shape[0]} pixels, its image "
                    f"{image.shape[1]}x{image.shape[0]}. Bring maps of the images' own size."
                )
        return maps

    return make, {"brought_from": str(folder)}


_PREDICTORS: dict[str, Callable[[RunSpec, Dataset], tuple[Predictor, dict[str, Any]]]] = {
    "memo": _memo,
    "sobel": _sobel,
    "canny": _canny,
    "brought": _brought,
}
