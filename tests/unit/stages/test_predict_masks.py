"""The predict stage on a data set of masks: DiffDIS, its latents alone, the baselines and brought masks."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import save_file

from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.files import read_json, write_json
from edgebench.methods.codec import PatchCodec, VaeCodec
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.predictor import Predictor
from edgebench.methods.diffdis.presets import NetworkConfig
from edgebench.methods.diffdis.weights import weight_metadata, weight_tensors
from edgebench.plan.methods import all_settings, settings_class
from edgebench.stages.predict import predict
from edgebench.stages.predictors import MODULES
from edgebench.stages.run import carry_out
from edgebench.stages.spec import RunSpec

torch.set_num_threads(1)
SIZES = {"a": (40, 60), "b": (64, 33), "c": (20, 20), "d": (30, 45), "e": (1, 1)}
CONFIG = NetworkConfig((8, 16), (1, 2), (False, True), 1, 4, text=8, tokens=2, latent=6)


def scene(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A light disc on a dark ground with grain, and its mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(y - height / 2, x - width / 2) < min(height, width) / 3
    image = np.where(inside[..., None], 180, 60) + rng.integers(-40, 40, (height, width, 3))
    return image.astype(np.uint8), (inside * 255).astype(np.uint8)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A data set in DIS5K's layout and a network's weights."""
    for part in ("DIS-TR", "DIS-VD"):
        for kind in ("im", "gt"):
            (tmp_path / "data" / part / kind).mkdir(parents=True)
        for seed, (name, size) in enumerate(SIZES.items()):
            image, mask = scene(*size, seed)
            Image.fromarray(image).save(tmp_path / "data" / part / "im" / f"{name}.jpg")
            Image.fromarray(mask).save(tmp_path / "data" / part / "gt" / f"{name}.png")
    torch.manual_seed(0)
    network = DiffdisNetwork(CONFIG)
    network.text.normal_()
    codec = PatchCodec.fit([scene(40, 40, 9)[0]], 4, 6)
    (tmp_path / "train").mkdir()
    save_file(
        weight_tensors(network.state_dict(), codec),
        tmp_path / "train" / "weights.safetensors",
        metadata=weight_metadata(CONFIG, codec),
    )
    for folder in ("data", "train"):
        write_json(tmp_path / folder / "run.json", {})
    return tmp_path


def spec(inputs: Path, out: str, method: str = "diffdis", /, seed: int = 0, **settings: Any) -> RunSpec:
    own = {"weights": "train", "size": 32, "device": "cpu"} if method == "diffdis" else {}
    chosen = {"stage": "predict", "method": method, "dataset": "dis5k", "split": "vd", **own, **settings}
    resolved = settings_class("predict", method, "a test").model_validate(chosen)
    runs = {"dataset": inputs / "data", "weights": inputs / "train", "vae": inputs / "vae"}
    used = {"dataset", *(name for name in ("weights", "vae") if chosen.get(name))}
    return RunSpec(
        {
            "folder": str(inputs / out),
            "label": out,
            "stage": "predict",
            "seed": seed,
            "settings": resolved.model_dump(mode="json"),
            "inputs": {name: str(path) for name, path in runs.items() if name in used},
            "dataset": {"name": "dis5k", "layout": "dis5k"},
            "resources": {},
        }
    )


def files(folder: Path) -> dict[str, bytes]:
    kinds = [folder / "maps", folder / "edges"]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for kind in kinds for path in sorted(kind.rglob("*.png"))
    }


def maps(inputs: Path, out: str, method: str = "diffdis", /, **settings: Any) -> dict[str, np.ndarray]:
    predict(spec(inputs, out, method, **settings))
    return {name: np.asarray(Image.open(inputs / out / "maps" / f"{name}.png")) for name in SIZES}


def test_a_planned_run_leaves_masks_edges_times_and_a_record(inputs: Path) -> None:
    planned = spec(inputs, "out", edges=True, tta="flip")
    write_json(inputs / "plan.json", {**planned.content, "id": "0", "role": "predict", "version": 1, "scale": "demo"})
    carry_out(inputs / "plan.json")
    assert set(files(inputs / "out")) == {f"{kind}/{name}.png" for kind in ("maps", "edges") for name in SIZES}
    for name, size in SIZES.items():
        for kind in ("maps", "edges"):
            written = Image.open(inputs / "out" / kind / f"{name}.png")
            assert (written.mode, written.size) == ("L", size[::-1])
    record = read_json(inputs / "out" / "run.json")
    assert record["n_images"] == 5
    assert record["tta"] == "flip"
    assert 0 < record["seconds_per_image"] < 60
    assert set(read_json(inputs / "out" / "timing.json")) == set(SIZES)


def test_too_little_memory_is_told_and_the_rest_made_later(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = spec(inputs, "out", batch=2)
    write_json(inputs / "plan.json", {**planned.content, "id": "0", "role": "predict", "version": 1, "scale": "demo"})
    ours, message = Predictor.predict, "CUDA out of memory. Tried to allocate 20 GiB.\nSee the documentation."

    def exhausted(self: Predictor, images: Any, names: Any) -> Any:
        if "c" in names:
            raise RuntimeError(message)
        return ours(self, images, names)

    with monkeypatch.context() as patched:
        patched.setattr(Predictor, "predict", exhausted)
        with pytest.raises(
            EdgebenchError, match=r"out: not enough memory \(CUDA out of memory.*GiB\.\)\. .* a smaller b"
        ):
            carry_out(inputs / "plan.json")
        message = "something else"
        with pytest.raises(RuntimeError, match="something else"):
            carry_out(inputs / "plan.json")
    assert set(files(inputs / "out")) == {"maps/a.png", "maps/b.png"}
    carry_out(inputs / "plan.json")
    assert set(files(inputs / "out")) == {f"maps/{name}.png" for name in SIZES}


@pytest.mark.parametrize("options", [{"edges": True}, {"resize": "aspect"}, {"steps": 2, "tta": "official"}])
def test_an_interrupted_run_ends_with_the_same_files(inputs: Path, options: dict[str, Any]) -> None:
    predict(spec(inputs, "whole", batch=2, **options))
    whole = files(inputs / "whole")
    predict(spec(inputs, "cut", batch=2, **options))
    for gone in ("b", "e"):
        (inputs / "cut" / "maps" / f"{gone}.png").unlink()
    predict(spec(inputs, "cut", batch=2, **options))
    assert files(inputs / "cut") == whole


def test_pictures_of_one_working_size_share_a_batch(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[list[str]] = []
    ours = Predictor.predict

    def recorded(self: Predictor, images: Any, names: Any) -> Any:
        batches.append(list(names))
        return ours(self, images, names)

    monkeypatch.setattr(Predictor, "predict", recorded)
    predict(spec(inputs, "square", batch=3))
    assert batches == [["a", "b", "c"], ["d", "e"]]
    batches.clear()
    predict(spec(inputs, "aspect", batch=3, resize="aspect"))
    assert batches == [["a", "d"], ["b"], ["c", "e"]]


def test_the_same_seed_gives_the_same_bytes_and_another_draw_another_mask(inputs: Path) -> None:
    first, again = (maps(inputs, folder) for folder in ("first", "again"))
    assert files(inputs / "first") == files(inputs / "again")
    assert all(np.array_equal(again[name], each) for name, each in first.items())
    for folder, changes in (("seed", {"seed": 1}), ("noise", {"noise": 1})):
        other = maps(inputs, folder, **changes)
        assert not any(np.array_equal(other[name], first[name]) for name in "abcd")


def test_every_option_reaches_the_predictor(inputs: Path) -> None:
    plain = maps(inputs, "plain", limit=None)
    changes: list[dict[str, Any]] = [{"size": 64}, {"resize": "aspect"}, {"tta": "flip"}, {"steps": 2}]
    changes += [{"steps": 2, "sampler": "ddim"}, {"precision": "bf16"}]
    seen = [plain["a"]]
    for number, options in enumerate(changes):
        found = maps(inputs, f"other{number}", **options)["a"]
        assert not any(np.array_equal(found, each) for each in seen), options
        seen.append(found)


def test_sizes_that_do_not_fit_are_told(inputs: Path) -> None:
    with pytest.raises(ConfigError, match="size 36 must be a multiple of 8"):
        predict(spec(inputs, "out", size=36))
    with pytest.raises(ConfigError, match="size 30 must be a multiple of 4"):
        predict(spec(inputs, "vae", "diffdis_vae", size=30))


def test_otsu_finds_the_disc_and_foreground_is_all(inputs: Path) -> None:
    found = maps(inputs, "otsu", "otsu")
    for seed, name in enumerate("abcd"):
        mask = scene(*SIZES[name], seed)[1]
        assert (found[name] == mask).mean() > 0.9
        assert set(np.unique(found[name])) == {0, 255}
    assert all(
        (each == 255).all() and each.shape == SIZES[name] for name, each in maps(inputs, "all", "foreground").items()
    )


def test_true_masks_go_through_a_code_of_patches(inputs: Path) -> None:
    record = predict(spec(inputs, "vae", "diffdis_vae", size=64, channels=24))
    assert record == {"n_images": 5, "seconds_per_image": None, "code": "patches, fitted to train"}
    for seed, name in enumerate("abd"):
        found = np.asarray(Image.open(inputs / "vae" / "maps" / f"{name}.png"))
        truth = scene(*SIZES[name], {"a": 0, "b": 1, "d": 3}[name])[1]
        assert ((found >= 128) == (truth >= 128)).mean() > 0.97, seed


def autoencoder() -> Any:
    """A small autoencoder whose tiles are squares of 32 pixels."""
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        sample_size=32,
    )


def test_true_masks_go_through_an_autoencoder(inputs: Path) -> None:
    autoencoder().save_pretrained(inputs / "vae" / "vae")
    write_json(inputs / "vae" / "run.json", {})
    record = predict(spec(inputs, "out", "diffdis_vae", size=32, vae="sd_turbo", limit=2))
    assert record["code"] == "autoencoder"
    assert sorted(files(inputs / "out")) == ["maps/a.png", "maps/b.png"]


def test_an_autoencoder_in_the_weights_works_in_tiles_if_asked(inputs: Path) -> None:
    config = NetworkConfig.from_dict({**CONFIG.to_dict(), "latent": 4})
    network, codec = DiffdisNetwork(config), VaeCodec(autoencoder())
    save_file(
        weight_tensors(network.state_dict(), codec),
        inputs / "train" / "weights.safetensors",
        metadata=weight_metadata(config, codec),
    )
    whole, again, tiled, within = (
        maps(inputs, folder, size=size, tiled=tiles)["a"]
        for folder, size, tiles in (
            ("whole", 64, False),
            ("again", 64, False),
            ("tiled", 64, True),
            ("within", 32, True),
        )
    )
    np.testing.assert_array_equal(whole, again)
    assert not np.array_equal(whole, tiled)
    np.testing.assert_array_equal(within, maps(inputs, "small", size=32)["a"])  # no larger than one tile


class TestBrought:
    def folder(self, inputs: Path) -> Path:
        folder = inputs / "theirs"
        folder.mkdir()
        for name, size in SIZES.items():
            Image.fromarray(np.full(size, 51, np.uint8)).save(folder / f"{name}.png")
        return folder

    def test_masks_of_any_kind(self, inputs: Path) -> None:
        folder = self.folder(inputs)
        (folder / "a.png").unlink()
        np.save(folder / "a.npy", np.full(SIZES["a"], 0.2))
        (folder / "b.png").unlink()
        Image.fromarray(np.full(SIZES["b"], 51, np.uint8)).save(folder / "b.jpg")
        Image.fromarray(np.full((3, 3), 9, np.uint8)).save(folder / "of_another_split.png")
        for name, each in maps(inputs, "out", "brought", folder=str(folder)).items():
            np.testing.assert_array_equal(each, np.full(SIZES[name], 51))
        record = predict(spec(inputs, "out", "brought", folder=str(folder)))
        assert record["seconds_per_image"] is None

    def test_another_size_is_named(self, inputs: Path) -> None:
        folder = self.folder(inputs)
        Image.fromarray(np.zeros((10, 12), np.uint8)).save(folder / "d.png")
        with pytest.raises(DataError, match=r"d\.png: is 12x10 pixels, its image 45x30"):
            predict(spec(inputs, "out", "brought", folder=str(folder)))

    def test_a_missing_one_is_named(self, inputs: Path) -> None:
        folder = self.folder(inputs)
        (folder / "c.png").unlink()
        with pytest.raises(DataError, match="1 of 5 images have no map here, the first is 'c'"):
            predict(spec(inputs, "out", "brought", folder=str(folder)))

    def test_what_is_no_mask_is_named(self, inputs: Path) -> None:
        folder = self.folder(inputs)
        Image.fromarray(scene(*SIZES["a"], 0)[0]).save(folder / "a.png")
        with pytest.raises(DataError, match=r"a\.png: a colour picture"):
            predict(spec(inputs, "out", "brought", folder=str(folder)))


def test_weights_of_another_method_are_refused(inputs: Path) -> None:
    save_file({"a": torch.zeros(1)}, inputs / "train" / "weights.safetensors", metadata={"method": "memo"})
    with pytest.raises(DataError, match="not DiffDIS weights"):
        predict(spec(inputs, "out"))


def test_edges_are_refused_where_there_are_none(inputs: Path) -> None:
    config = NetworkConfig.from_dict(
        {**CONFIG.to_dict(), "edge": False, "stream_embedding": False, "interaction": "none"}
    )
    codec = PatchCodec.fit([scene(40, 40, 9)[0]], 4, 6)
    save_file(
        weight_tensors(DiffdisNetwork(config).state_dict(), codec),
        inputs / "train" / "weights.safetensors",
        metadata=weight_metadata(config, codec),
    )
    with pytest.raises(ConfigError, match="trained without edges"):
        predict(spec(inputs, "out", edges=True))
    assert predict(spec(inputs, "out"))["n_images"] == 5


def test_every_method_of_the_plan_can_be_prepared() -> None:
    planned = {method for stage, method in all_settings() if stage == "predict"}
    assert set(MODULES) == planned - {"mask_edges", "mask_contours", "mask_skeletons"}  # runs of their own kind
    for method, name in MODULES.items():
        assert callable(getattr(importlib.import_module(f"edgebench.stages.predictors.{name}"), method))
