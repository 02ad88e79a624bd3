"""Padding, batching, guidance and weight files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.methods.memo.lora import ADAPTER, add_lora, merge_lora
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.predictor import Prediction, Predictor, random_priority
from edgebench.methods.memo.presets import DinoConfig, NetworkConfig
from edgebench.methods.memo.reveal import RevealSettings, reveal
from edgebench.methods.memo.tiles import pad_symmetric
from edgebench.methods.memo.weights import load_network, weight_metadata

torch.set_num_threads(1)
CONFIG = NetworkConfig(4, (8, 16), 1, 4, DinoConfig(24, 1, 2, registers=0, size=(28, 28)))


@pytest.fixture
def network() -> MemoNetwork:
    torch.manual_seed(0)
    network = MemoNetwork(CONFIG).eval()
    with torch.no_grad():
        network.unet.conv_out.weight.mul_(5)
    return network


def images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def assert_same(first: Prediction, second: Prediction) -> None:
    np.testing.assert_allclose(first.probability, second.probability, atol=1e-5)
    np.testing.assert_array_equal(first.edges, second.edges)
    assert (first.rounds, first.passes) == (second.rounds, second.passes)


def test_padding_mirrors_bottom_and_right() -> None:
    image = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(pad_symmetric(image, 4), [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2]])
    assert pad_symmetric(np.zeros((64, 32, 3)), 32).shape == (64, 32, 3)
    assert pad_symmetric(np.ones((1, 1, 3)), 32).sum() == 32 * 32 * 3


@pytest.mark.parametrize("strategy", ["locmax", "random"])
def test_an_image_does_not_depend_on_its_batch(network: MemoNetwork, strategy: str) -> None:
    pictures = images((32, 32), (40, 30), (30, 30), (1, 1), (32, 20))
    names = list("abcde")
    predictor = Predictor(network, RevealSettings(strategy, 3), guidance=2.0, batch_size=3)  # type: ignore[arg-type]
    together = predictor.predict(pictures, names)
    assert [p.edges.shape for p in together] == [picture.shape[:2] for picture in pictures]
    assert all(p.probability.dtype == np.float32 and p.edges.dtype == np.uint8 for p in together)
    for picture, name, prediction in zip(pictures, names, together, strict=True):
        assert_same(predictor.predict([picture], [name])[0], prediction)


def test_guidance_is_that_of_the_formula(network: MemoNetwork) -> None:
    picture = images((32, 32))[0]
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    black = torch.zeros_like(image)

    def plain(tokens: Tensor, ratio: Tensor, step: int, active: list[int]) -> Tensor:
        conditional, unconditional = network(tokens, ratio, image), network(tokens, ratio, black)
        return unconditional + 1.7 * (conditional - unconditional)

    settings = RevealSettings("locmax", 4)
    with torch.no_grad():
        expected = reveal(plain, (1, 32, 32), settings)
    guided = Predictor(network, settings, guidance=1.7).predict([picture], ["a"])[0]
    np.testing.assert_allclose(guided.probability, expected.probability[0].numpy(), atol=1e-5)
    assert guided.passes == 2 * guided.rounds == 8
    unguided = Predictor(network, settings).predict([picture], ["a"])[0]
    assert unguided.passes == 4
    assert np.abs(guided.probability - unguided.probability).max() > 1e-3


def test_image_features_are_computed_once(network: MemoNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    encode = network.encode

    def counted(image: Tensor) -> Tensor | None:
        sizes.append(len(image))
        return encode(image)

    monkeypatch.setattr(network, "encode", counted)
    predictor = Predictor(network, RevealSettings("locmax", 3), guidance=1.5, batch_size=2)
    predictor.predict(images((32, 32), (32, 32), (64, 32)), list("abc"))
    assert sizes == [2, 1, 1]  # a batch of two, the black image for all, a batch of one


def test_random_priority_depends_on_name_and_seed() -> None:
    assert torch.equal(random_priority("a", 0, 4, 5), random_priority("a", 0, 4, 5))
    assert not torch.equal(random_priority("a", 0, 4, 5), random_priority("b", 0, 4, 5))
    assert not torch.equal(random_priority("a", 0, 4, 5), random_priority("a", 1, 4, 5))


def test_bf16_stays_close(network: MemoNetwork) -> None:
    picture = images((32, 32))
    settings = RevealSettings("locmax", 1)
    full = Predictor(network, settings, guidance=1.4).predict(picture, ["a"])[0]
    half = Predictor(network, settings, guidance=1.4, precision="bf16").predict(picture, ["a"])[0]
    assert half.probability.dtype == np.float32
    assert 0 < np.abs(full.probability - half.probability).max() < 0.1


def test_broken_weights_are_told(network: MemoNetwork) -> None:
    with torch.no_grad():
        network.unet.conv_out.bias.fill_(torch.nan)
    with pytest.raises(EdgebenchError, match=r"photo: .*not a number"):
        Predictor(network, RevealSettings()).predict(images((32, 32)), ["photo"])
    with pytest.raises(ConfigError, match="guidance"):
        Predictor(network, RevealSettings(), guidance=0.5)


def test_weights_return_the_same_network(network: MemoNetwork, tmp_path: Path) -> None:
    save_file(network.state_dict(), tmp_path / "weights.safetensors", metadata=weight_metadata(network.config))
    loaded = load_network(tmp_path / "weights.safetensors")
    assert loaded.config == network.config
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())


def test_weights_of_another_model_are_told(network: MemoNetwork, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(DataError, match="no such weight file"):
        load_network(path)
    path.write_bytes(b"no weights at all")
    with pytest.raises(DataError, match="not a readable safetensors"):
        load_network(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"method": "diffdis"})
    with pytest.raises(DataError, match="method='diffdis'"):
        load_network(path)
    other = NetworkConfig(4, (8, 24), 1, 4)
    save_file(network.state_dict(), path, metadata=weight_metadata(other))
    with pytest.raises(DataError, match=r"weights\.safetensors: weights of another model: .* more\. Give"):
        load_network(path)
    save_file(network.state_dict(), path, metadata={"method": "memo", "config": "{}"})
    with pytest.raises(DataError, match="configuration cannot be read"):
        load_network(path)


def test_adapters_start_silent_and_merge(network: MemoNetwork) -> None:
    picture = images((32, 32))
    before = Predictor(network, RevealSettings("locmax", 1)).predict(picture, ["a"])[0]
    add_lora(network, rank=2)
    start = Predictor(network, RevealSettings("locmax", 1)).predict(picture, ["a"])[0]
    np.testing.assert_allclose(start.probability, before.probability, atol=1e-6)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if f"lora_B.{ADAPTER}" in name:
                parameter.normal_(std=0.1)
    adapted = Predictor(network, RevealSettings("locmax", 1)).predict(picture, ["a"])[0]
    state = merge_lora(network.state_dict())
    assert not [name for name in state if "lora" in name]
    plain = MemoNetwork(CONFIG)
    plain.load_state_dict(state)
    merged = Predictor(plain, RevealSettings("locmax", 1)).predict(picture, ["a"])[0]
    assert np.abs(adapted.probability - before.probability).max() > 1e-3
    np.testing.assert_allclose(merged.probability, adapted.probability, atol=1e-5)
