"""Batching, guidance, what is not computed twice, views of large images, and weight files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from edgebench.errors import ConfigError, DataError, EdgebenchError
from edgebench.methods.memo.inference import Denoiser
from edgebench.methods.memo.lora import ADAPTER, add_lora, merge_lora
from edgebench.methods.memo.network import MASK, MemoNetwork
from edgebench.methods.memo.predictor import KEPT_SIZES, Prediction, Predictor, random_priority
from edgebench.methods.memo.presets import DinoConfig, NetworkConfig
from edgebench.methods.memo.reveal import RevealSettings, reveal
from edgebench.methods.memo.tiles import shrink
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
    assert first.rounds == second.rounds


def plain_loop(network: MemoNetwork, picture: np.ndarray, steps: int, guidance: float) -> tuple[Any, Any]:
    """Locmax as one would first write it: one image, doubled batches, everything anew in every step."""
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    tokens = torch.full(picture.shape[:2], MASK)
    found = torch.zeros(picture.shape[:2])
    for step in range(steps):
        masked = tokens == MASK
        if not masked.any():
            break
        with torch.no_grad():
            both = network(
                tokens.expand(2, -1, -1), masked.float().mean().expand(2), torch.cat((image, torch.zeros_like(image)))
            )
        probability = (both[1] + guidance * (both[0] - both[1])).softmax(0)
        confidence = probability.amax(0).masked_fill(~masked, -np.inf).numpy()
        frame = np.pad(confidence, 1, constant_values=-np.inf)
        near = np.lib.stride_tricks.sliding_window_view(frame, (3, 3)).max((2, 3))
        chosen = masked.numpy() & (confidence >= near) & (confidence > 0.5)
        order = np.argsort(np.where(chosen, -confidence, np.inf), axis=None, kind="stable")
        kept = np.zeros(chosen.size, bool)
        kept[order[: min(int(chosen.sum()), int(0.2 * chosen.size))]] = True
        reveal_now = masked if step == steps - 1 else torch.from_numpy(kept.reshape(chosen.shape))
        tokens = torch.where(reveal_now, probability.argmax(0), tokens)
        found = torch.where(reveal_now, probability[1], found)
    return found.numpy(), tokens.numpy()


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("lora", [False, True])
def test_same_maps_as_a_plain_loop(registers: int, lora: bool) -> None:
    torch.manual_seed(registers)
    dino = DinoConfig(24, 1, 2, registers=registers, size=(28, 28))
    network = MemoNetwork(NetworkConfig(4, (8, 16, 24), 2, 4, dino)).eval()
    if lora:
        add_lora(network, rank=2)
    with torch.no_grad():
        network.unet.conv_out.weight.mul_(5)
        for name, parameter in network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    pictures = images((32, 64), (32, 64), (32, 32))
    expected = [plain_loop(network, picture, 8, 1.7) for picture in pictures]
    predictor = Predictor(network, RevealSettings("locmax", 8), 1.7, batch_size=2)
    for _ in range(2):  # the second time with the first unconditional answers at hand
        for (probability, edges), prediction in zip(expected, predictor.predict(pictures, list("abc")), strict=True):
            np.testing.assert_array_equal(prediction.edges, edges)
            assert 0 < edges.mean() < 1
            # Where two neighbours are equally sure but for rounding, a pixel may be revealed a step earlier.
            difference = np.abs(prediction.probability - probability)
            assert (difference < 1e-5).mean() > 0.95
            assert difference.max() < 1e-3


def test_the_split_pass_is_the_network(network: MemoNetwork) -> None:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 3, (3, 32, 48), generator=generator)
    ratio, image = torch.rand(3, generator=generator), torch.rand(3, 3, 32, 48, generator=generator)
    denoiser = Denoiser(network)
    with torch.no_grad():
        expected, features = network(tokens, ratio, image), network.encode(image)
        for part in ([0, 1, 2], [2], [2, 0]):
            own = denoiser.prepare(image, features).of(part)
            hidden = denoiser.embed(tokens[part]) + own.stem
            logits = denoiser.denoise(hidden, denoiser.shifts(ratio[part]), own.features)
            torch.testing.assert_close(logits, expected[part], atol=5e-5, rtol=1e-5)
            # Borders too: both first convolutions pad with zeros.
            exact = network.unet.conv_in(
                network.pre_conv(torch.cat((network.embedder(tokens).permute(0, 3, 1, 2), image), 1))
            )
            torch.testing.assert_close(hidden, exact[part], atol=1e-5, rtol=1e-5)


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
    assert guided.rounds == 4
    unguided = Predictor(network, settings).predict([picture], ["a"])[0]
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


def test_what_need_not_be_computed_is_not(network: MemoNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    denoise = Denoiser.denoise

    def counted(self: Denoiser, hidden: Tensor, shifts: Tensor, features: Tensor | None) -> Tensor:
        passes.append(len(hidden))
        return denoise(self, hidden, shifts, features)

    monkeypatch.setattr(Denoiser, "denoise", counted)
    pictures = images((32, 32), (32, 32), (32, 32), (32, 32))
    names = list("abcd")
    settings = RevealSettings("locmax", "full")
    predictor = Predictor(network, settings, guidance=1.5)
    predictions = predictor.predict(pictures, names)
    rounds = [each.rounds for each in predictions]
    assert len(set(rounds)) > 1  # or nothing would show that a finished image leaves
    assert sum(passes) == 2 * sum(rounds) - 3  # the first unconditional pass is shared by four
    passes.clear()
    predictor.predict(pictures, names)
    assert sum(passes) == 2 * sum(rounds) - 4  # and kept
    for picture, prediction in zip(pictures, predictions, strict=True):
        assert_same(predictor.predict([picture], ["alone"])[0], prediction)


def test_few_sizes_of_the_black_image_are_kept(network: MemoNetwork) -> None:
    """Folders of photographs of a thousand sizes do not fill the memory."""
    sizes = [(32, 32 * count) for count in range(1, KEPT_SIZES + 3)]
    predictor = Predictor(network, RevealSettings("locmax", 1), guidance=1.5, dino_size="adaptive")
    pictures = images(*sizes)
    first = predictor.predict(pictures[:1], ["a"])[0]
    for picture in pictures[1:-1]:
        predictor.predict([picture, pictures[0]], ["other", "a"])  # one that is used again stays
    for kept in (predictor._black_logits, predictor._black_features):
        assert len(kept) == KEPT_SIZES
    assert (32, 32) in predictor._black_logits
    predictor.predict(pictures[1:], [str(number) for number in range(1, len(pictures))])
    assert (32, 32) not in predictor._black_logits
    assert_same(predictor.predict(pictures[:1], ["a"])[0], first)


def test_frames_lead_to_the_result(network: MemoNetwork) -> None:
    pictures = images((32, 32), (40, 30), (30, 20))
    seen: dict[str, list[tuple[int, np.ndarray, np.ndarray]]] = {name: [] for name in "abc"}

    def on_frame(name: str, step: int, tokens: np.ndarray, probability: np.ndarray) -> None:
        seen[name].append((step, tokens, probability))

    predictor = Predictor(network, RevealSettings("locmax", "full"), guidance=1.5, long_side=32)
    predictions = predictor.predict(pictures, list("abc"), on_frame)
    for picture, name, prediction in zip(pictures, "abc", predictions, strict=True):
        steps = [step for step, _, _ in seen[name]]
        assert steps == list(range(len(steps)))
        # The padding may need a step or more after the image itself is revealed.
        assert len(steps) == prediction.rounds
        before = np.full(picture.shape[:2], MASK)
        for _, tokens, probability in seen[name]:
            assert tokens.dtype == np.uint8
            assert tokens.shape == picture.shape[:2] == probability.shape
            np.testing.assert_array_equal(tokens[before != MASK], before[before != MASK])
            before = tokens
        np.testing.assert_array_equal(before, prediction.edges)
        np.testing.assert_array_equal(seen[name][-1][2], prediction.probability)
    assert (seen["a"][0][2][seen["a"][0][1] == MASK] == 0).all()


def test_large_images_are_shrunk_and_the_answer_enlarged(network: MemoNetwork) -> None:
    picture = images((80, 128))[0]
    shrunk = Predictor(network, RevealSettings("locmax", 2), long_side=64).predict([picture], ["a"])[0]
    small = Predictor(network, RevealSettings("locmax", 2)).predict([shrink(picture, 40, 64)], ["a"])[0]
    assert shrunk.probability.shape == shrunk.edges.shape == (80, 128)
    np.testing.assert_array_equal(shrunk.edges, small.edges.repeat(2, 0).repeat(2, 1))
    enlarged = functional.interpolate(torch.from_numpy(small.probability)[None, None], scale_factor=2, mode="bilinear")
    np.testing.assert_allclose(shrunk.probability, enlarged[0, 0].numpy(), atol=1e-5)
    untouched = Predictor(network, RevealSettings("locmax", 2), long_side=128).predict([picture], ["a"])[0]
    assert_same(untouched, Predictor(network, RevealSettings("locmax", 2)).predict([picture], ["a"])[0])


def test_tiles_blend_the_logits_of_each(network: MemoNetwork) -> None:
    picture = images((96, 128))[0]
    settings = RevealSettings("locmax", 1)
    tiled = Predictor(network, settings, guidance=1.4, tile=96).predict([picture], ["a"])[0]
    whole = Predictor(network, settings, guidance=1.4)
    left, right = (
        torch.from_numpy(whole.predict([picture[:, start : start + 96]], ["a"])[0].probability).logit()
        for start in (0, 32)
    )
    np.testing.assert_allclose(tiled.probability[:, :32], left[:, :32].sigmoid(), atol=1e-5)
    np.testing.assert_allclose(tiled.probability[:, 96:], right[:, 64:].sigmoid(), atol=1e-5)
    # In the middle of the overlap both tiles weigh the same.
    middle = ((left[:, 63] * 32.5 + right[:, 31] * 31.5) / 64).sigmoid()
    np.testing.assert_allclose(tiled.probability[:, 63], middle, atol=1e-5)
    small = Predictor(network, settings, guidance=1.4, tile=128).predict([picture], ["a"])[0]
    assert_same(small, whole.predict([picture], ["a"])[0])


def test_tiles_of_several_images_and_steps(network: MemoNetwork) -> None:
    pictures = images((96, 160), (96, 150))
    predictor = Predictor(network, RevealSettings("locmax", 4), guidance=1.4, tile=96)
    together = predictor.predict(pictures, ["a", "b"])
    for picture, prediction in zip(pictures, together, strict=True):
        assert_same(predictor.predict([picture], ["alone"])[0], prediction)
        np.testing.assert_array_equal(np.isin(prediction.edges, (0, 1)), True)


def test_scales_average_logits(network: MemoNetwork) -> None:
    picture = images((64, 96))[0]
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    tokens, ratio = torch.full((1, 64, 96), MASK), torch.ones(1)
    half = functional.interpolate(image, size=(32, 64), mode="bilinear", antialias=True)  # 48 is between 32 and 64
    with torch.no_grad():
        small = network(tokens[:, :32, :64], ratio, half)
        logits = (network(tokens, ratio, image) + functional.interpolate(small, size=(64, 96), mode="bilinear")) / 2
    predictor = Predictor(network, RevealSettings("locmax", 1), scales=(1, 0.5))
    found = predictor.predict([picture], ["a"])[0]
    np.testing.assert_allclose(found.probability, logits.softmax(1)[0, 1].numpy(), atol=1e-5)
    several = Predictor(network, RevealSettings("locmax", 4), 1.4, scales=(1, 2)).predict([picture], ["a"])[0]
    assert several.rounds == 4
    same = Predictor(network, RevealSettings("locmax", 4), scales=(1, 1)).predict([picture], ["a"])[0]
    once = Predictor(network, RevealSettings("locmax", 4)).predict([picture], ["a"])[0]
    np.testing.assert_allclose(same.probability, once.probability, atol=1e-5)


def test_dino_may_see_the_image_at_its_own_size(network: MemoNetwork) -> None:
    picture = images((64, 96))
    fixed = Predictor(network, RevealSettings("locmax", 1)).predict(picture, ["a"])[0]
    adaptive = Predictor(network, RevealSettings("locmax", 1), dino_size="adaptive")
    assert network.dino is not None
    assert network.dino.input_size(64, 96) == (56, 84)
    assert np.abs(adaptive.predict(picture, ["a"])[0].probability - fixed.probability).max() > 1e-6
    assert_same(Predictor(network, RevealSettings("locmax", 1)).predict(picture, ["a"])[0], fixed)


def test_without_a_compiler_the_network_runs_uncompiled(network: MemoNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = images((32, 32), (32, 32), (32, 32))
    expected = Predictor(network, RevealSettings("locmax", 3), 1.4).predict(pictures, list("abc"))
    shapes = []

    def fake(function: Any, dynamic: bool) -> Any:
        assert dynamic is False

        def compiled(hidden: Tensor, *rest: Any) -> Tensor:
            shapes.append(len(hidden))
            return function(hidden, *rest)

        return compiled

    monkeypatch.setattr(torch, "compile", fake)
    compiled = Predictor(network, RevealSettings("locmax", 3), 1.4, compile=True).predict(pictures, list("abc"))
    for one, other in zip(compiled, expected, strict=True):
        assert_same(one, other)
    assert set(shapes) <= {1, 2, 4, 8}
    assert 4 in shapes  # three images

    def broken(function: Any, dynamic: bool) -> Any:
        def fail(*_: Any) -> Tensor:
            raise RuntimeError("no compiler here\nand much more")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(UserWarning, match=r"torch\.compile failed \(no compiler here\)"):
        fallen = Predictor(network, RevealSettings("locmax", 3), 1.4, compile=True).predict(pictures, list("abc"))
    for one, other in zip(fallen, expected, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance": 0.5}, "guidance 0.5"),
        ({"guidance": float("inf")}, "guidance inf"),
        ({"guidance": float("nan")}, "guidance nan"),
        ({"precision": "fp8"}, "fp8"),
        ({"dino_size": "big"}, "big"),
        ({"long_side": 0}, "long_side 0"),
        ({"tile": 64}, "tile 64"),
        ({"tile": 100}, "tile 100"),
        ({"scales": ()}, "scales"),
        ({"scales": (1, -1)}, "scales"),
        ({"scales": (1, float("inf"))}, "scales"),
        ({"scales": (1, 2), "tile": 128}, "tile and scales"),
    ],
)
def test_wrong_options_are_named(network: MemoNetwork, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Predictor(network, RevealSettings(), **options)


def test_random_priority_depends_on_name_and_seed() -> None:
    assert torch.equal(random_priority("a", 0, 4, 5), random_priority("a", 0, 4, 5))
    assert not torch.equal(random_priority("a", 0, 4, 5), random_priority("b", 0, 4, 5))
    assert not torch.equal(random_priority("a", 0, 4, 5), random_priority("a", 1, 4, 5))


@pytest.mark.parametrize("strategy", ["locmax", "random"])
def test_what_the_official_reveal_draws_is_seeded(
    network: MemoNetwork, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It depends on the seed and the names, not on what was drawn before, and disturbs nothing drawn after."""
    monkeypatch.setattr("edgebench.methods.memo.reveal.CAP_SHARE", 0.05)  # or noise would never reach it
    settings = RevealSettings(strategy, 4, compat="official")  # type: ignore[arg-type]
    pictures = images((32, 32), (32, 32), (30, 20))

    def predicted(names: str, seed: int = 0) -> list[np.ndarray]:
        torch.rand(3)
        state = torch.get_rng_state()
        found = Predictor(network, settings, guidance=1.5, seed=seed).predict(pictures, list(names))
        assert torch.equal(torch.get_rng_state(), state)
        return [each.probability for each in found]

    first = predicted("abc")
    for one, same, seeded, named in zip(first, predicted("abc"), predicted("abc", 1), predicted("xyz"), strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, seeded)
        assert not np.array_equal(one, named)


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
