"""The folder of DiffDIS' authors becomes a weight file of ours, and nothing else passes for one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgebench.errors import DataError
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.official import our_name
from edgebench.methods.diffdis.presets import PRESETS, NetworkConfig
from edgebench.methods.diffdis.pretrained import WEIGHTS, backbone_config, empty_text, from_backbone
from edgebench.methods.diffdis.released import convert_released, released_preset
from edgebench.methods.diffdis.weights import load_weights
from tests.unit.methods.stable_diffusion import official, save_model

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DiffdisNetwork]:
    """A folder like the authors', of a small size, and its network."""
    folder = save_model(tmp_path_factory.mktemp("released"))
    network = from_backbone(folder, NetworkConfig())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
        for injector in network.injectors:
            injector.norm.running_mean.normal_()  # type: ignore[union-attr, operator]
    save_file(official(network.state_dict()), folder / "unet" / WEIGHTS)
    (folder / "unet" / "config.json").unlink()  # the authors' folder has none
    return folder, network


def configs(network: DiffdisNetwork) -> dict[str, NetworkConfig]:
    return {"other": replace(network.config, channels=(8, 16, 16, 24)), "this": network.config}


def test_the_file_holds_network_text_and_autoencoder(trained: tuple[Path, DiffdisNetwork], tmp_path: Path) -> None:
    folder, network = trained
    found = convert_released(folder, tmp_path / "weights.safetensors", {"source_sha256": "abc"}, configs(network))
    assert found.preset == "this"
    assert found.parameters == sum(parameter.numel() for parameter in network.parameters())
    with safe_open(tmp_path / "weights.safetensors", framework="pt") as file:
        assert file.metadata()["source_sha256"] == "abc"
    loaded, codec = load_weights(tmp_path / "weights.safetensors")
    assert loaded.state_dict().keys() == network.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())
    assert torch.equal(loaded.text, empty_text(folder))
    assert not loaded.training
    picture = torch.rand(1, 3, 16, 16) * 2 - 1
    vae: Any = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        latent = vae.encode(picture).latent_dist.mode() * vae.config.scaling_factor
        torch.testing.assert_close(codec.encode(picture), latent)
        expected = vae.decode(latent / vae.config.scaling_factor).sample.mean(1, keepdim=True)
        torch.testing.assert_close(codec.decode(latent), expected, atol=1e-5, rtol=1e-5)
    assert load_weights(tmp_path / "weights.safetensors", "bf16", tiled=True)[1].encode(picture).dtype == torch.float32


def test_half_precision_is_written_in_full(trained: tuple[Path, DiffdisNetwork], tmp_path: Path) -> None:
    folder, network = trained
    shutil.copytree(folder, tmp_path / "half")
    path = tmp_path / "half" / "unet" / WEIGHTS
    save_file({k: v.half() if v.is_floating_point() else v for k, v in load_file(path).items()}, path)
    convert_released(tmp_path / "half", tmp_path / "weights.safetensors", configs=configs(network))
    loaded = load_weights(tmp_path / "weights.safetensors")[0]
    assert {t.dtype for t in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.unet.conv_in.weight, network.unet.conv_in.weight, atol=1e-3, rtol=1e-3)


def test_names_and_shapes_are_strict(trained: tuple[Path, DiffdisNetwork], tmp_path: Path) -> None:
    folder, network = trained
    shutil.copytree(folder, tmp_path / "bad")
    path, target = tmp_path / "bad" / "unet" / WEIGHTS, tmp_path / "weights.safetensors"
    tensors = load_file(path)

    def refused(changed: dict[str, Tensor], match: str) -> None:
        save_file(changed, path)
        with pytest.raises(DataError, match=match):
            convert_released(tmp_path / "bad", target, configs=configs(network))
        assert not target.exists()

    refused(
        {k: v for k, v in tensors.items() if "attn3.to_q" not in k}, r"preset 'this'.*attention_between.* is missing"
    )
    refused(tensors | {"conv_in.weight": torch.zeros(8, 4, 3, 3)}, "conv_in.weight is 8x4x3x3 instead of 8x8x3x3")
    refused(tensors | {"rgb_proj2.0.bias": torch.zeros(1)}, "holds 'rgb_proj2.0.bias'")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="no readable weights"):
        released_preset(tmp_path / "bad", configs(network))
    save_file(tensors, path)
    shutil.rmtree(tmp_path / "bad" / "vae")
    with pytest.raises(DataError, match="vae: no such folder"):
        convert_released(tmp_path / "bad", target, configs=configs(network))
    assert not target.exists()


def test_the_full_size_is_recognised_by_its_header(tmp_path: Path) -> None:
    """A sparse file with the names and shapes of the published U-Net: 3.65 GB that are neither written nor read."""
    with torch.device("meta"):
        network = DiffdisNetwork(PRESETS["full"])
    state = official(network.state_dict())
    offset, entries = 0, []
    for name, tensor in state.items():
        kind, size = ("F32", 4) if tensor.is_floating_point() else ("I64", 8)
        shape, end = list(tensor.shape), offset + tensor.numel() * size
        entries.append(f'"{name}":{{"dtype":"{kind}","shape":{shape},"data_offsets":[{offset},{end}]}}')
        offset = end
    header = f"{{{','.join(entries)}}}".encode()
    header = header.ljust(-(-len(header) // 8) * 8)
    (tmp_path / "unet").mkdir()
    with open(tmp_path / "unet" / WEIGHTS, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + offset)
    assert len(state) == 730
    assert sum(tensor.numel() for tensor in network.parameters()) == 912_924_804
    assert released_preset(tmp_path) == "full"
    assert our_name("rgb_proj.0.weight") == "injectors.0.scale.weight"


def test_the_released_folder_is_no_backbone(trained: tuple[Path, DiffdisNetwork]) -> None:
    with pytest.raises(DataError, match=r"config\.json: cannot be read"):
        backbone_config(trained[0], NetworkConfig())
