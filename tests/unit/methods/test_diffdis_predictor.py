"""Sizes, runs, noise and weight files."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.methods.codec import PatchCodec
from edgebench.methods.diffdis.constants import TimeConstants, fix_constants
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.predictor import Prediction, Predictor, PredictSettings, noise_generator
from edgebench.methods.diffdis.presets import NetworkConfig
from edgebench.methods.diffdis.reconstruction import reconstruct
from edgebench.methods.diffdis.weights import load_weights, trained_size, weight_metadata, weight_tensors

torch.set_num_threads(1)
CONFIG = NetworkConfig((8, 16), (1, 2), (False, False), 1, 4, text=4, tokens=1, latent=6)
SIZE = 32


def images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def codec() -> PatchCodec:
    return PatchCodec.fit(images((40, 40)), 4, 6)


def network(**changes: Any) -> DiffdisNetwork:
    torch.manual_seed(0)
    made = DiffdisNetwork(NetworkConfig(**{**CONFIG.to_dict(), **changes})).eval()
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if name.startswith("injectors."):
                value.add_(0.3 * torch.rand(value.shape)) if value.is_floating_point() else None
    return made


def predictor(made: DiffdisNetwork | None = None, batch_size: int = 4, seed: int = 0, **settings: Any) -> Predictor:
    chosen = PredictSettings(**{"size": SIZE, **settings})
    return Predictor(made or network(), codec(), chosen, batch_size=batch_size, seed=seed)


def assert_same(first: Prediction, second: Prediction) -> None:
    """Equal but for rounding, which may decide about one of the 255 levels of a map that was resized."""
    assert (first.edge is None) == (second.edge is None)
    for ours, theirs in ((first.mask, second.mask), (first.edge, second.edge)):
        if ours is not None and theirs is not None:
            np.testing.assert_allclose(ours, theirs, atol=1.01 / 255)
            assert np.abs(ours - theirs).mean() < 1e-4


@pytest.mark.parametrize("settings", [{"steps": 3}, {"resize": "aspect", "edges": True}, {"tta": "official"}])
def test_a_picture_does_not_depend_on_its_batch(settings: dict[str, Any]) -> None:
    pictures = images((32, 32), (40, 30), (30, 60), (1, 1), (50, 20))
    whole = predictor(batch_size=3, **settings)
    together = whole.predict(pictures, list("abcde"))
    for picture, name, prediction in zip(pictures, "abcde", together, strict=True):
        assert prediction.mask.shape == picture.shape[:2]
        assert prediction.mask.dtype == np.float32
        assert prediction.mask.min() >= 0
        assert prediction.mask.max() <= 1
        assert_same(whole.predict([picture], [name])[0], prediction)


def test_noise_depends_on_name_and_seed() -> None:
    picture = images((32, 32))
    first, again, other = (predictor().predict(picture, [name])[0] for name in ("a", "a", "b"))
    assert np.array_equal(first.mask, again.mask)
    assert np.abs(first.mask - other.mask).max() > 1e-3
    for changed in (predictor(seed=1), predictor(noise=1)):
        assert np.abs(changed.predict(picture, ["a"])[0].mask - first.mask).max() > 1e-3
    runs = itertools.product((0, 1), (0, 1), (0.75, 1), (False, True))
    draws = {float(torch.randn(1, generator=noise_generator("a", *run))) for run in runs}
    assert len(draws) == 16


def test_edges_cost_a_decode_and_change_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = images((32, 48))
    with_edges, without = (predictor(edges=edges).predict(picture, ["a"])[0] for edges in (True, False))
    assert np.array_equal(with_edges.mask, without.mask)
    assert without.edge is None
    assert with_edges.edge is not None
    assert np.abs(with_edges.edge - with_edges.mask).max() > 1e-3

    decoded: list[int] = []
    counted = predictor(edges=False)
    decode = counted.codec.decode

    def count(latents: Tensor) -> Tensor:
        decoded.append(len(latents))
        return decode(latents)

    monkeypatch.setattr(counted.codec, "decode", count)
    counted.predict(images((32, 32), (32, 32)), ["a", "b"])
    assert decoded == [2]


@pytest.mark.parametrize(("tta", "runs"), [("none", 1), ("flip", 2), ("official", 6)])
def test_runs_are_averaged(tta: str, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = predictor(tta=tta)
    sizes: list[tuple[int, ...]] = []

    def brightness(pictures: Tensor, generators: list[torch.Generator]) -> Tensor:
        sizes.extend(tuple(each.shape[-2:]) for each in pictures)
        assert len(generators) == len(pictures)
        return (pictures.mean(1, keepdim=True) + 1) / 2

    monkeypatch.setattr(made, "_maps", brightness)
    y, x = np.mgrid[:32, :32] / 31
    picture = np.rint(np.stack([100 * x + 100 * y] * 3, -1)).astype(np.uint8)
    found = made.predict([picture], ["a"])[0]
    assert len(sizes) == runs
    assert set(sizes) == ({(24, 24), (32, 32), (40, 40)} if tta == "official" else {(32, 32)})
    # Turned back and averaged, a smooth picture is itself again.
    np.testing.assert_allclose(found.mask[2:-2, 2:-2], picture[2:-2, 2:-2, 0] / 255, atol=0.01)


def test_sizes() -> None:
    square, aspect = predictor(), predictor(resize="aspect", size=64)
    assert square.working_size(100, 300) == (32, 32)
    assert aspect.working_size(100, 300) == (24, 64)
    assert aspect.working_size(300, 1) == (64, 8)
    with pytest.raises(ConfigError, match="multiple of 8"):
        predictor(size=30)


@pytest.mark.parametrize("resize", ["square", "aspect"])
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 2), (33, 31), (1700, 1300)])
def test_pictures_of_every_size_get_a_mask_of_theirs(resize: str, size: tuple[int, int]) -> None:
    mask = predictor(resize=resize, tta="official").predict(images(size), ["a"])[0].mask
    assert mask.shape == size
    assert np.isfinite(mask).all()
    assert mask.max() <= 1


def test_constants_change_no_result() -> None:
    picture, made = images((32, 32)), network()
    image = torch.from_numpy(picture[0]).permute(2, 0, 1)[None].float() / 127.5 - 1
    code = codec()
    latents, smaller = (
        code.encode(image),
        [code.encode(torch.nn.functional.interpolate(image, scale_factor=0.5, mode="bilinear"))],
    )
    noise = torch.randn(latents.shape[1:], generator=noise_generator("a", 0, 0, 1.0, False))[None].repeat(2, 1, 1, 1)
    with torch.no_grad():
        output = made(latents, noise, 999, smaller)
    clean = (noise - 0.99766725 * output) / 0.06826489
    decoded = (code.decode(clean[:1]).clip(-1, 1) + 1) / 2
    expected = (decoded - decoded.min()) / (decoded.max() - decoded.min())
    for _ in range(2):  # a network whose constants are fixed already can be taken over again
        whole = predictor(made)
        found = whole.predict(picture, ["a"])[0]
        np.testing.assert_allclose(found.mask, expected[0, 0].numpy(), atol=2e-5)
    assert isinstance(whole.network.injectors[0].norm, torch.nn.Identity)


def test_constants_of_every_time_step() -> None:
    """A network whose constants are fixed answers as before, whichever time step comes after which."""
    made = network(attention=(True, False), text=8, tokens=2)
    made.text.normal_()
    generator = torch.Generator().manual_seed(0)
    image, smaller = (torch.randn(3, 6, side, side, generator=generator) for side in (8, 4))
    noisy = torch.randn(6, 6, 8, 8, generator=generator)
    with torch.no_grad():
        expected = {time: made(image, noisy, time, [smaller]) for time in (999, 499)}
        fix_constants(made)
        constants = TimeConstants(made)
        for time in (999, 499, 999):
            found = made(image, noisy, time, [smaller], constants.at(time))
            torch.testing.assert_close(found, expected[time], atol=2e-6, rtol=1e-5)
    assert (expected[999] - expected[499]).abs().max() > 1e-3


def test_maps_are_resized_in_eight_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the authors' code writes them: cut off to 8 bits first, then resized by Pillow."""
    answer, made = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)), predictor()
    monkeypatch.setattr(made, "_maps", lambda pictures, generators: answer)
    levels = Image.fromarray((answer[0, 0].numpy() * 255).astype(np.uint8))
    resized = np.asarray(levels.resize((50, 40), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(np.rint(made.predict(images((40, 50)), ["a"])[0].mask * 255), resized)
    np.testing.assert_array_equal(made.predict(images((SIZE, SIZE)), ["a"])[0].mask, answer[0, 0].numpy())


def test_a_constant_answer_gives_numbers() -> None:
    made = network(prediction="sample")
    code = codec()
    for value in (-2.0, 0.0, 2.0):
        with torch.no_grad():
            made.unet.conv_out.weight.zero_()
            made.unet.conv_out.bias.zero_()
        code.basis.zero_()
        code.mean.fill_(value)
        found = Predictor(made, code, PredictSettings(size=SIZE)).predict(images((20, 20)), ["a"])[0].mask
        np.testing.assert_allclose(found, np.floor(255 * min(max((value + 1) / 2, 0), 1)) / 255)


def test_masks_survive_their_code() -> None:
    y, x = np.mgrid[:50, :70]
    mask = np.where(np.hypot(y - 25, x - 30) < 18, 255, 0).astype(np.uint8)
    code = PatchCodec.fit([mask], 4, 12)
    found = reconstruct(code, mask, 64)
    assert found.shape == mask.shape
    assert found.dtype == np.float32
    assert ((found > 0.5) == (mask > 0)).mean() > 0.99
    blank = reconstruct(code, np.zeros_like(mask), 64)
    assert np.isfinite(blank).all()
    with pytest.raises(ConfigError, match="multiple of 4"):
        reconstruct(code, mask, 62)


def test_half_precision_stays_close() -> None:
    picture = images((32, 32))
    full = predictor(network(prediction="sample")).predict(picture, ["a"])[0]
    half = Predictor(network(prediction="sample"), codec(), PredictSettings(size=SIZE), precision="bf16")
    assert 0 < np.abs(half.predict(picture, ["a"])[0].mask - full.mask).max() < 0.1


def test_mask_alone() -> None:
    made = network(edge=False, stream_embedding=False, interaction="none")
    assert predictor(made, steps=2).predict(images((32, 32)), ["a"])[0].mask.shape == (32, 32)
    with pytest.raises(ConfigError, match="without edges"):
        predictor(made, edges=True)


def test_what_is_wrong_is_told() -> None:
    made = network()
    with torch.no_grad():
        made.unet.conv_out.bias.fill_(torch.nan)
    with pytest.raises(EdgebenchError, match=r"photo: .*not a number"):
        predictor(made).predict(images((32, 32)), ["photo"])
    with pytest.raises(ConfigError, match="tta 'some'"):
        predictor(tta="some")
    with pytest.raises(ConfigError, match="steps 0"):
        predictor(steps=0)


def test_weight_files(tmp_path: Path) -> None:
    path, made, code = tmp_path / "weights.safetensors", network(), codec()
    with pytest.raises(DataError, match="no such weight file"):
        load_weights(path)
    path.write_bytes(b"no weights at all")
    with pytest.raises(DataError, match="not a readable safetensors"):
        load_weights(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"method": "memo"})
    with pytest.raises(DataError, match="method='memo'"):
        load_weights(path)
    save_file(weight_tensors(made.state_dict(), code), path, metadata=weight_metadata(made.config, code))
    loaded, its_code = load_weights(path)
    assert isinstance(its_code, PatchCodec)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in made.state_dict().items())
    assert all(torch.equal(value, its_code.state_dict()[name]) for name, value in code.state_dict().items())
    assert trained_size(path) == 1024
    for size, message in (("96", None), ("large", "the size 'large', where pixels were expected")):
        metadata = weight_metadata(made.config, code) | {"size": size}
        save_file(weight_tensors(made.state_dict(), code), path, metadata=metadata)
        with pytest.raises(DataError, match=message) if message else nullcontext():
            assert trained_size(path) == 96
    save_file(made.state_dict(), path, metadata=weight_metadata(made.config, code))
    with pytest.raises(DataError, match="basis is missing"):
        load_weights(path)
    other = weight_metadata(network(injection=False).config, code)
    save_file(weight_tensors(made.state_dict(), code), path, metadata=other)
    with pytest.raises(DataError, match="weights of another model: injectors"):
        load_weights(path)
    save_file(made.state_dict(), path, metadata={"method": "diffdis", "config": "{}", "codec": "{"})
    with pytest.raises(DataError, match="configuration cannot be read"):
        load_weights(path)
