"""Evaluating how much predicted maps look like drawings: FID and LPIPS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebench.errors import DataError
from edgebench.files import atomic_path
from edgebench.progress import track
from edgebench.stages.inputs import map_file, open_input
from edgebench.stages.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

FILES = {
    "inception": ("pt_inception-2015-12-05-6726825d.pth",),
    "lpips": ("alexnet-owt-7be5be79.pth", "alex.pth"),
}
"""What a protocol's networks consist of: the files of their checkpoints."""

Scored = tuple[dict[str, float], dict[str, Any], int]


def evaluate_perceptual(spec: RunSpec, protocol: dict[str, Any]) -> Scored:
    """FID and LPIPS of a predict run's maps; bright = edge, grey levels repeated over three channels.

    Every annotator's drawing is a picture of its own. FID compares all maps with all drawings; LPIPS is the mean over
    images of the mean distance of an image's map to its drawings. With `map: binary` maps are cut at one half.

    Writes `per_image.npz` with LPIPS per image.

    Returns:
        Columns, scores in full (with a note where FID has fewer pictures than features), number of images.

    Raises:
        DataError: weights, a map or an annotation are missing or damaged, or there are fewer than two images.
    """
    import numpy as np
    import torch

    from edgebench.data.edge_maps import read_edge_map
    from edgebench.metrics.perceptual import frechet_distance, lpips_distance, rank_deficient
    from edgebench.metrics.perceptual_networks import FID_FEATURES, AlexFeatures, InceptionFeatures

    torch.set_num_threads(spec.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inception, alex = InceptionFeatures(), AlexFeatures()
    (inception_file,) = _files(spec, protocol, "inception")
    alex_file, linear_file = _files(spec, protocol, "lpips")
    _load(inception, inception_file)
    _load(alex, alex_file)
    linear = _linear_weights(linear_file)
    inception, alex = inception.to(device).eval(), alex.to(device).eval()

    dataset = open_input(spec)
    predictions = spec.input("predictions")
    if len(dataset.ids) < 2:
        raise DataError(
            f"{predictions}: {len(dataset.ids)} image; FID needs at least two, and says something with 2049."
        )
    map_features, drawing_features, distances = [], [], []
    with torch.inference_mode():
        for image_id in track(dataset.ids, "Comparing pictures"):
            edges = read_edge_map(map_file(predictions, image_id))
            drawings = dataset.boundaries(image_id)
            if any(each.shape != edges.shape for each in drawings):
                raise DataError(
                    f"{map_file(predictions, image_id)}: {edges.shape[0]} x {edges.shape[1]} pixels (height x width), "
                    f"but its annotations have {drawings[0].shape[0]} x {drawings[0].shape[1]}. Predict again."
                )
            if protocol["map"] == "binary":
                edges = (edges >= 0.5).astype(float)
            stacked = np.stack([edges, *drawings]).astype(np.float32)
            pictures = torch.from_numpy(stacked)[:, None].expand(-1, 3, -1, -1).to(device)
            features = inception(pictures).double().cpu().numpy()
            map_features.append(features[:1])
            drawing_features.append(features[1:])
            # One number per layer, picture, channel and pixel: compared picture by picture to keep memory small.
            layers = [each.cpu().numpy() for each in alex(pictures)]
            own = [layer[0] for layer in layers]
            others = [[layer[k] for layer in layers] for k in range(1, len(stacked))]
            distances.append(float(np.mean([lpips_distance(own, other, linear) for other in others])))

    maps, drawn = np.concatenate(map_features), np.concatenate(drawing_features)
    fid, lpips = frechet_distance(maps, drawn), float(np.mean(distances))
    prefix = f"{protocol['columns']}_" if protocol["columns"] else ""
    with atomic_path(spec.folder / "per_image.npz") as path:
        values: dict[str, Any] = {"ids": np.array(dataset.ids), f"{prefix}lpips": np.array(distances)}
        np.savez_compressed(path, **values)
    details: dict[str, Any] = {"value": fid, "maps": len(maps), "drawings": len(drawn)}
    if rank_deficient(min(len(maps), len(drawn)), FID_FEATURES):
        details["note"] = (
            f"FID from {len(maps)} maps and {len(drawn)} drawings, fewer than its {FID_FEATURES} features: covariances "
            f"lack rank, and the value is larger than that of many images; compare it only at equal numbers"
        )
    scores = {f"{prefix}fid": details, f"{prefix}lpips": {"value": lpips}}
    return {f"{prefix}fid": fid, f"{prefix}lpips": lpips}, scores, len(dataset.ids)


def _files(spec: RunSpec, protocol: dict[str, Any], network: str) -> list[Path]:
    folder, name = Path(spec.content["inputs"][network]), protocol["networks"][network]
    paths = [folder / file for file in FILES[network]]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"{path}: weights are missing (config/checkpoints/{name}.yaml). Type `edgebench fetch {name}`, or "
                f"`edgebench fetch {name} --mirror FOLDER` when you have the file {path.name} already."
            )
    return paths


def _read(path: Path) -> dict[str, torch.Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what its reader stumbles over
        raise DataError(f"{path}: not a readable weight file ({error}). Delete it and fetch it again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds {type(content).__name__}, no map of weights. Delete it and fetch it again.")
    return content


def _load(network: torch.nn.Module, path: Path) -> None:
    """Fill `network`; tensors that it lacks (classifiers) are left out, but none of its own may be missing."""
    state, own = _read(path), network.state_dict()
    wrong = [
        name
        for name, value in own.items()
        if not name.endswith("num_batches_tracked") and (name not in state or state[name].shape != value.shape)
    ]
    if wrong:
        raise DataError(f"{path}: {len(wrong)} tensors are missing or of another shape, the first is '{wrong[0]}'.")
    network.load_state_dict({name: state.get(name, value) for name, value in own.items()})


def _linear_weights(path: Path) -> list[np.ndarray]:
    from edgebench.metrics.perceptual_networks import ALEX_CHANNELS

    state, weights = _read(path), []
    for layer, channels in enumerate(ALEX_CHANNELS):
        name = f"lin{layer}.model.1.weight"
        if name not in state or tuple(state[name].shape) != (1, channels, 1, 1):
            raise DataError(f"{path}: '{name}' of shape (1, {channels}, 1, 1) is missing. Fetch the file again.")
        weights.append(state[name].double().numpy().ravel())
    return weights
