"""The network: what the published configuration demands, on small ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from edgebench.errors import ConfigError
from edgebench.methods.memo.dino import OffsetEmbeddings, build_dino
from edgebench.methods.memo.network import MASK, MemoNetwork
from edgebench.methods.memo.official import our_name
from edgebench.methods.memo.presets import DinoConfig, NetworkConfig, preset

torch.set_num_threads(1)
DINO = DinoConfig(24, 1, 2, registers=4, size=(28, 42))
TINY = NetworkConfig(4, (8, 16), 1, 4, DINO)


def inputs(batch: int = 2, height: int = 16, width: int = 24) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 3, (batch, height, width), generator=generator)
    return (
        tokens,
        torch.rand(batch, generator=generator),
        torch.rand(batch, 3, height, width, generator=generator),
    )


def test_features_computed_once_serve_as_those_computed_inside() -> None:
    torch.manual_seed(0)
    network = MemoNetwork(TINY).eval()
    tokens, ratio, image = inputs()
    with torch.no_grad():
        features = network.encode(image)
        assert features is not None
        assert features.shape == (2, 16, 2, 3)
        torch.testing.assert_close(network(tokens, ratio, image, features), network(tokens, ratio, image))
        assert not torch.equal(network(tokens, ratio, image, features), network(tokens, ratio, image, 0 * features))


def test_a_network_without_image_encoder() -> None:
    torch.manual_seed(0)
    network = MemoNetwork(preset("small")).eval()
    tokens, ratio, image = inputs()
    assert network.encode(image) is None
    with torch.no_grad():
        logits = network(tokens, ratio, image)
        assert logits.shape == (2, 2, 16, 24)
        for changed in (
            (tokens.fill_(MASK), ratio, image),
            (tokens, ratio / 2, image),
            (tokens, ratio, image / 2),
        ):
            other = network(*changed)
            assert not torch.equal(other, logits)
            logits = other


def test_the_embedding_of_small_presets_starts_small() -> None:
    torch.manual_seed(0)
    small = NetworkConfig(64, (8, 16), 1, 4, embedding_std=0.1)
    assert MemoNetwork(small).embedder.weight.std().item() == pytest.approx(0.1, rel=0.2)
    assert preset("default").embedding_std == preset("tiny").embedding_std == 1


def test_time_embedding_takes_the_raw_ratio_cosine_first() -> None:
    network = MemoNetwork(preset("small"))
    half = preset("small").channels[0] // 2
    frequencies = [10000 ** (-index / half) for index in range(half)]
    expected = [math.cos(0.37 * f) for f in frequencies] + [math.sin(0.37 * f) for f in frequencies]
    torch.testing.assert_close(network.unet.time_proj(torch.tensor([0.37]))[0], torch.tensor(expected))


def test_gradient_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        network = MemoNetwork(TINY).train()
        if checkpointing:
            network.enable_gradient_checkpointing()
        network(*inputs()).square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 50
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_adaptive_image_size() -> None:
    network = MemoNetwork(NetworkConfig(4, (8, 16), 1, 4, DinoConfig(24, 1, 2, 0, "adaptive")))
    assert network.dino is not None
    assert network.dino.input_size(321, 481) == (308, 476)
    assert network.dino.input_size(8, 30) == (14, 28)
    features = network.encode(torch.rand(1, 3, 32, 48))
    assert features is not None
    assert features.shape[-2:] == (2, 3)


def cubic(distance: float) -> float:
    """Keys' kernel with a = -0.75."""
    d = abs(distance)
    if d <= 1:
        return 1.25 * d**3 - 2.25 * d**2 + 1
    return -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3 if d < 2 else 0.0


def test_positions_without_registers_are_resampled_with_the_offset() -> None:
    model = build_dino(DinoConfig(2, 1, 1, registers=0))
    assert isinstance(model.embeddings, OffsetEmbeddings)
    with torch.no_grad():
        model.embeddings.position_embeddings.copy_(torch.randn_like(model.embeddings.position_embeddings))
        positions = model.embeddings.interpolate_pos_encoding(torch.zeros(1, 7, 2), 28, 42)
        same = model.embeddings.interpolate_pos_encoding(torch.zeros(1, 37 * 37 + 1, 2), 518, 518)
    grid = model.embeddings.position_embeddings[0, 1:, 0].detach().numpy().reshape(37, 37).astype(float)

    def weights(target: int, count: int) -> np.ndarray:
        centre = (target + 0.5) * 37 / (count + 0.1) - 0.5
        row = np.zeros(37)
        for source in range(math.floor(centre) - 1, math.floor(centre) + 3):
            row[min(max(source, 0), 36)] += cubic(source - centre)
        return row

    expected = [[weights(y, 2) @ grid @ weights(x, 3) for x in range(3)] for y in range(2)]
    np.testing.assert_allclose(positions[0, 1:, 0].numpy().reshape(2, 3), expected, atol=1e-5)
    assert torch.equal(same, model.embeddings.position_embeddings)


def test_positions_with_registers_are_resampled_to_the_size_with_smoothing() -> None:
    model = build_dino(DinoConfig(2, 1, 1, registers=4))
    with torch.no_grad():
        model.embeddings.position_embeddings.copy_(torch.randn_like(model.embeddings.position_embeddings))
        positions = model.embeddings.interpolate_pos_encoding(torch.zeros(1, 7, 2), 28, 42)
    grid = model.embeddings.position_embeddings[:, 1:].detach().view(1, 37, 37, 2).permute(0, 3, 1, 2)
    resampled = functional.interpolate(grid, size=(2, 3), mode="bicubic", antialias=True)
    torch.testing.assert_close(positions[0, 1:], resampled.flatten(2)[0].T)
    plain = functional.interpolate(grid, size=(2, 3), mode="bicubic")
    assert (plain - resampled).abs().max() > 0.1


def test_configurations_survive_json_and_wrong_ones_are_named() -> None:
    for name in ("default", "small"):
        assert NetworkConfig.from_dict(preset(name).to_dict()) == preset(name)
    with pytest.raises(ConfigError, match=r"huge.*default, tiny, mini, small"):
        preset("huge")
    with pytest.raises(ConfigError, match="embeding"):
        NetworkConfig.from_dict({"embeding": 3, "channels": [8], "layers": 1, "groups": 4})


def test_a_foreign_name_is_no_parameter() -> None:
    with pytest.raises(KeyError, match=r"head\.weight"):
        our_name("head.weight")
