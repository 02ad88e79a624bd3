"""Starting from a Stable Diffusion model, and loading a released network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from edgebench.errors import DataError
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.official import our_name
from edgebench.methods.diffdis.presets import NetworkConfig
from edgebench.methods.diffdis.pretrained import (
    WEIGHTS,
    backbone_config,
    empty_text,
    from_backbone,
    load_vae,
)
from tests.unit.methods.stable_diffusion import save_model

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def turbo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in the layout of SD-Turbo's folder."""
    return save_model(tmp_path_factory.mktemp("turbo"))


def test_starts_from_the_backbone(turbo: Path) -> None:
    network = from_backbone(turbo, NetworkConfig())
    stock, state = load_file(turbo / "unet" / WEIGHTS), network.state_dict()
    kernel = stock.pop("conv_in.weight")
    assert torch.equal(state["unet.conv_in.weight"], torch.cat((kernel, kernel), 1) / 2)
    assert all(torch.equal(state[f"unet.{name}"], tensor) for name, tensor in stock.items())
    middle = "unet.mid_block.attentions.0.transformer_blocks.0."
    for name in ("to_q.weight", "to_out.0.bias"):
        assert torch.equal(state[f"{middle}attention_between.{name}"], state[f"{middle}attn1.{name}"])
    assert torch.equal(network.text, empty_text(turbo))
    assert network.text.shape == (1, 2, 12)
    assert network.text.abs().sum() > 0


def test_untrained_it_is_the_backbone_on_the_mean_of_both_latents(turbo: Path) -> None:
    network = from_backbone(turbo, NetworkConfig(stream_embedding=False, interaction="none")).eval()
    stock: Any = UNet2DConditionModel.from_pretrained(turbo / "unet")
    image, noisy = torch.randn(1, 4, 8, 8), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        found = network(image, noisy, 999, [torch.randn(1, 4, side, side) for side in (4, 2, 1)])
        expected = stock.eval()((image + noisy) / 2, 999, network.text.expand(2, -1, -1)).sample
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_other_members_of_the_family(tmp_path: Path) -> None:
    """Like SD 1: as many heads at every level, convolutions around the attention, here with three levels."""
    levels: dict[str, Any] = {"down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")}
    levels |= {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")}
    changes: dict[str, Any] = {
        "block_out_channels": (8, 16, 24),
        "attention_head_dim": 2,
        "use_linear_projection": False,
    }
    network = from_backbone(save_model(tmp_path, **levels, **changes), NetworkConfig())
    config = network.config
    assert (config.channels, config.heads, config.linear) == ((8, 16, 24), (2, 2, 2), False)
    assert [injector.stem.out_channels for injector in network.injectors] == [8, 16]  # type: ignore[union-attr]
    stock = load_file(tmp_path / "unet" / WEIGHTS)
    state = network.state_dict()
    assert all(torch.equal(state[f"unet.{name}"], each) for name, each in stock.items() if name != "conv_in.weight")
    image, noisy = torch.randn(1, 4, 8, 8), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        assert network(image, noisy, 999, [image[..., ::2, ::2], image[..., ::4, ::4]]).shape == noisy.shape


def test_switches_hold(turbo: Path) -> None:
    plain = NetworkConfig(edge=False, stream_embedding=False, interaction="none", injection=False)
    names = from_backbone(turbo, plain).state_dict().keys()
    assert names == {f"unet.{name}" for name in load_file(turbo / "unet" / WEIGHTS)} | {"text"}


def test_prediction_type_is_the_models(turbo: Path, tmp_path: Path) -> None:
    shutil.copytree(turbo, tmp_path / "v")
    path = tmp_path / "v" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"prediction_type": "v_prediction"}))
    assert backbone_config(turbo, NetworkConfig()).prediction == "epsilon"
    assert backbone_config(tmp_path / "v", NetworkConfig()).prediction == "v_prediction"


def test_foreign_and_damaged_weights(turbo: Path, tmp_path: Path) -> None:
    shutil.copytree(turbo, tmp_path / "other")
    path = tmp_path / "other" / "unet" / WEIGHTS
    save_file({"unknown": torch.zeros(1)}, path)
    with pytest.raises(DataError, match="holds 'unknown'"):
        from_backbone(tmp_path / "other", NetworkConfig())
    path.write_bytes(b"")
    with pytest.raises(DataError, match="no readable weights"):
        from_backbone(tmp_path / "other", NetworkConfig())


def test_what_is_missing_is_told(turbo: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json: cannot be read"):
        from_backbone(tmp_path, NetworkConfig())
    with pytest.raises(DataError, match="vae: no such folder"):
        load_vae(tmp_path)
    (tmp_path / "vae").mkdir()
    with pytest.raises(DataError, match="vae: cannot be loaded"):
        load_vae(tmp_path)
    assert load_vae(turbo).channels == 4
    shutil.copytree(turbo, tmp_path / "half")
    (tmp_path / "half" / "text_encoder" / "config.json").write_text("{}")
    with pytest.raises(DataError, match=r"lacks what describes this family \('hidden_size'\)"):
        backbone_config(tmp_path / "half", NetworkConfig())
    shutil.copytree(turbo, tmp_path / "xl")
    path = tmp_path / "xl" / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "addition_embed_type": "text_time"}))
    with pytest.raises(DataError, match=r"not a model .*addition_embed_type"):
        backbone_config(tmp_path / "xl", NetworkConfig())


def test_gaps_are_not_filled_with_random_numbers(turbo: Path, tmp_path: Path) -> None:
    shutil.copytree(turbo, tmp_path / "gaps")
    for path, load in (
        (tmp_path / "gaps" / "text_encoder" / "model.safetensors", empty_text),
        (tmp_path / "gaps" / "vae" / WEIGHTS, load_vae),
    ):
        state = load_file(path)
        gap = sorted(name for name in state if name.endswith("norm.weight") or name == "decoder.conv_in.weight")[0]
        del state[gap]
        save_file(state, path, {"format": "pt"})
        with pytest.raises(DataError, match=rf"{gap} is missing, one of 1 tensors"):
            load(tmp_path / "gaps")


def test_files_of_stable_diffusion_as_they_are(turbo: Path, tmp_path: Path) -> None:
    """Names and types of other times: a prefix and positions in the text encoder, other attention in the VAE."""
    shutil.copytree(turbo, tmp_path / "old")
    path = tmp_path / "old" / "text_encoder" / "model.safetensors"
    state = {f"text_model.{name}": tensor for name, tensor in load_file(path).items()}
    save_file({**state, "text_model.embeddings.position_ids": torch.arange(77)[None]}, path, {"format": "pt"})
    config = path.with_name("config.json")
    values = {key: value for key, value in json.loads(config.read_text()).items() if key != "dtype"}
    config.write_text(json.dumps({**values, "torch_dtype": "float16"}))  # as in SD-Turbo's folder
    assert torch.equal(empty_text(tmp_path / "old"), empty_text(turbo))
    path = tmp_path / "old" / "vae" / WEIGHTS
    older = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    state = load_file(path)
    for new, old in older.items():
        state = {name.replace(new, old): tensor for name, tensor in state.items()}
    assert state.keys() != load_file(path).keys()
    save_file(state, path, {"format": "pt"})
    found, expected = (load_vae(folder).state_dict() for folder in (tmp_path / "old", turbo))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_foreign_names() -> None:
    assert our_name("rgb_proj1.2.bias") == "injectors.2.shift.bias"
    with pytest.raises(KeyError):
        our_name("rgb_proj2.0.bias")


def test_a_network_begins_untrained_in_its_additions() -> None:
    config = NetworkConfig((8, 16), (1, 2), (True, False), 1, 4, text=4, latent=3)
    for injector in DiffdisNetwork(config).injectors:
        assert not any(each.weight.any() or each.bias.any() for each in (injector.scale, injector.shift))  # type: ignore[union-attr, operator]
