"""Released checkpoints: recognised, averaged, merged, converted; what is wrong with a file is said."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from edgebench.errors import DataError
from edgebench.methods.memo.lora import add_lora
from edgebench.methods.memo.network import MemoNetwork
from edgebench.methods.memo.official import our_name
from edgebench.methods.memo.presets import PRESETS, DinoConfig, NetworkConfig
from edgebench.methods.memo.released import convert_released, read_released
from edgebench.methods.memo.weights import load_network
from tests.unit.methods.deepspeed import MICRO, official_name, write_deepspeed

CONFIGS = {"other": NetworkConfig(8, (16, 32), 1, 8, DinoConfig(24, 1, 3, registers=4)), "micro": MICRO}


def network(lora: bool = False) -> MemoNetwork:
    torch.manual_seed(0)
    network = MemoNetwork(MICRO).eval()
    if lora:
        add_lora(network)
        for name, value in network.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=0.1)
    return network


def official(network: MemoNetwork) -> dict[str, Tensor]:
    state = {official_name(name): value.detach() for name, value in network.state_dict().items()}
    assert {our_name(name) for name in state} == set(network.state_dict())
    return state


def answer(network: MemoNetwork) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 3, (1, 16, 24), generator=generator)
    with torch.no_grad():
        return network(tokens, torch.tensor([0.4]), torch.rand(1, 3, 16, 24, generator=generator))


@pytest.mark.parametrize("lora", [False, True])
def test_converted_weights_answer_alike(tmp_path: Path, lora: bool) -> None:
    original = network(lora)
    source = write_deepspeed(tmp_path / "mp_rank_00_model_states.pt", official(original))
    released = convert_released(source, tmp_path / "weights.safetensors", {"checkpoint": "micro"}, CONFIGS)
    assert (released.preset, released.averaged, released.lora_rank) == ("micro", 9, 8 if lora else None)
    torch.testing.assert_close(answer(load_network(tmp_path / "weights.safetensors")), answer(original))
    with safe_open(tmp_path / "weights.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert metadata["weights"] == "moving average of 9 updates"
    assert metadata["adapters"] == ("merged, rank 8" if lora else "none")
    assert metadata["checkpoint"] == "micro"


def test_the_average_is_preferred_and_the_last_step_taken_without_one(tmp_path: Path) -> None:
    averaged = official(network())
    live = {name: value + 1 for name, value in averaged.items()}
    both = read_released(write_deepspeed(tmp_path / "both.pt", averaged, live), CONFIGS)
    alone = read_released(write_deepspeed(tmp_path / "alone.pt", averaged, live, updates=0), CONFIGS)
    torch.testing.assert_close(both.state["pre_conv.bias"], averaged["pre_conv.bias"])
    torch.testing.assert_close(alone.state["pre_conv.bias"], live["pre_conv.bias"])
    assert alone.averaged == 0


def test_the_average_is_taken_even_where_its_updates_are_not_counted(tmp_path: Path) -> None:
    averaged = official(network())
    live = {name: value + 1 for name, value in averaged.items()}
    module = {f"denoiser.{name}": value for name, value in live.items()}
    torch.save({"module": module}, tmp_path / "live.pt")
    assert read_released(tmp_path / "live.pt", CONFIGS).averaged == 0
    module |= {f"ema_denoiser.module.{name}": value for name, value in averaged.items()}
    torch.save({"module": module}, tmp_path / "both.pt")
    released = convert_released(tmp_path / "both.pt", tmp_path / "weights.safetensors", configs=CONFIGS)
    torch.testing.assert_close(released.state["pre_conv.bias"], averaged["pre_conv.bias"])
    with safe_open(tmp_path / "weights.safetensors", framework="pt") as file:
        assert file.metadata()["weights"] == "moving average"
    module["ema_denoiser.n_averaged"] = torch.tensor(0)
    torch.save({"module": module}, tmp_path / "begun.pt")
    begun = read_released(tmp_path / "begun.pt", CONFIGS)
    torch.testing.assert_close(begun.state["pre_conv.bias"], live["pre_conv.bias"])


@pytest.mark.parametrize("preset", ["default", "tiny"])
@pytest.mark.parametrize("lora", [False, True])
def test_published_sizes_are_recognised(preset: str, lora: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        published = MemoNetwork(PRESETS[preset])
        if lora:
            add_lora(published)
    module = {f"ema_denoiser.module.{name}": value for name, value in official(published).items()}
    content = {"module": {**module, "ema_denoiser.n_averaged": torch.tensor(3)}}
    monkeypatch.setattr("edgebench.methods.memo.released._load", lambda _: content)
    released = read_released("mp_rank_00_model_states.pt", device="meta")
    assert (released.preset, released.lora_rank) == (preset, 8 if lora else None)
    parameters = sum(value.numel() for value in released.state.values())
    assert parameters == sum(value.numel() for value in MemoNetwork.parameters(published)) - released.adapter_parameters
    if preset == "default":
        assert released.adapter_parameters == (2_971_648 if lora else 0)


class RunsCode:
    """What an attacker would put into a file: loading it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_released(path, CONFIGS)
    assert str(path) in str(caught.value)
    return str(caught.value)


class TestBadFiles:
    def test_code_is_not_run(self, tmp_path: Path) -> None:
        trap = tmp_path / "trap"
        path = write_deepspeed(tmp_path / "a.pt", official(network()), optimizer=RunsCode(trap))
        assert "would run code when loaded (posix.mkdir)" in refused(path)
        assert not trap.exists()

    def test_truncated(self, tmp_path: Path) -> None:
        path = write_deepspeed(tmp_path / "a.pt", official(network()))
        path.write_bytes(path.read_bytes()[:-1000])
        assert "not a whole PyTorch file" in refused(path)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "empty"),
            (b"<!doctype html><html>log in</html>", "an HTML page"),
            (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
            (b"\x80\x02}q\x00." * 9, "not a whole PyTorch file"),
        ],
    )
    def test_something_else(self, tmp_path: Path, content: bytes, reason: str) -> None:
        path = tmp_path / "a.pt"
        path.write_bytes(content)
        assert reason in refused(path)

    def test_missing(self, tmp_path: Path) -> None:
        assert "no such file" in refused(tmp_path / "nothing.pt")

    @pytest.mark.parametrize("content", [{}, {"module": 3}, {"module": {"a": 1}}, [1]])
    def test_no_weights(self, tmp_path: Path, content: Any) -> None:
        torch.save(content, tmp_path / "a.pt")
        assert "no weights under the key 'module'" in refused(tmp_path / "a.pt")

    def test_weights_of_another_program(self, tmp_path: Path) -> None:
        torch.save({"module": {"backbone.weight": torch.zeros(3)}}, tmp_path / "a.pt")
        assert "no weights named denoiser.*" in refused(tmp_path / "a.pt")
        torch.save({"module": {"denoiser.head.weight": torch.zeros(3)}}, tmp_path / "b.pt")
        assert "denoiser.head.weight is no weight of MEMO's network" in refused(tmp_path / "b.pt")

    def test_a_missing_weight_and_a_wrong_shape_are_named(self, tmp_path: Path) -> None:
        state = official(network())
        del state["pre_conv.bias"]
        message = refused(write_deepspeed(tmp_path / "a.pt", state))
        assert "nearest to preset 'micro'" in message
        assert "pre_conv.bias is missing" in message
        state = official(network()) | {"pre_conv.bias": torch.zeros(5)}
        assert "pre_conv.bias is 5 instead of 8" in refused(write_deepspeed(tmp_path / "b.pt", state))

    def test_half_of_an_adapter_is_missing(self, tmp_path: Path) -> None:
        state = official(network(lora=True))
        del state[next(name for name in state if "lora_B" in name)]
        assert "its adapters are not complete" in refused(write_deepspeed(tmp_path / "a.pt", state))
