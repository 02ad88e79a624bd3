"""The whole prediction on the authors' small network, autoencoder and text encoder, against a plain loop.

The loop is the authors' pipeline in stock parts, whose network stands tested beside this file: four scales encoded,
one call, one step of the scheduler, three colours decoded and averaged, and both maps stretched.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from edgebench.methods.codec import VaeCodec
from edgebench.methods.diffdis.network import DiffdisNetwork
from edgebench.methods.diffdis.official import from_official
from edgebench.methods.diffdis.predictor import Predictor, PredictSettings, noise_generator
from edgebench.methods.diffdis.presets import NetworkConfig

torch.set_num_threads(1)
TOLERANCE = 5e-6
SIZE = 128


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "fixtures" / "diffdis"


@pytest.fixture(scope="module")
def configs(folder: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads((folder / "pipeline_configs.json").read_text())
    return known


@pytest.fixture(scope="module")
def text(folder: Path, configs: dict[str, Any]) -> Tensor:
    """What the text encoder says to the empty text, (1, 2, width)."""
    encoder = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])).eval()
    state = load_file(folder / "tiny_text_encoder_state.safetensors")
    encoder.load_state_dict({name.removeprefix("text_model."): tensor for name, tensor in state.items()})
    with torch.no_grad():
        return encoder(torch.tensor([configs["token_ids"]])).last_hidden_state


def network(folder: Path, text: Tensor) -> DiffdisNetwork:
    values = json.loads((folder / "tiny_unet_config.json").read_text())
    config = NetworkConfig(
        channels=tuple(values["block_out_channels"]),
        heads=tuple(values["attention_head_dim"]),
        layers=values["layers_per_block"],
        groups=values["norm_num_groups"],
        text=values["cross_attention_dim"],
    )
    made = DiffdisNetwork(config).eval()
    made.load_state_dict({**from_official(load_file(folder / "tiny_unet_state.safetensors")), "text": text})
    return made


def autoencoder(folder: Path, configs: dict[str, Any]) -> Any:
    made: Any = AutoencoderKL(**configs["vae"])
    made.load_state_dict(load_file(folder / "tiny_vae_state.safetensors"))
    return made.eval()


def plain_loop(unet: DiffdisNetwork, vae: Any, configs: dict[str, Any], picture: Tensor, noise: Tensor) -> Tensor:
    """Mask and edge (2, H, W) of one picture (1, 3, H, W) in [-1, 1]."""
    scales = [picture] + [functional.interpolate(picture, scale_factor=0.5**k, mode="bilinear") for k in (1, 2, 3)]
    latents = [vae.encode(each).latent_dist.mean * 0.18215 for each in scales]
    scheduler: Any = DDPMScheduler(**configs["scheduler"])
    scheduler.set_timesteps(1)
    noisy = torch.cat([noise, noise])
    clean = scheduler.step(unet(latents[0], noisy, 999, latents[1:]), 999, noisy).prev_sample
    grey = vae.decode(clean / 0.18215).sample.mean(1).clip(-1, 1)
    maps = (grey + 1) / 2
    return torch.stack([(each - each.min()) / (each.max() - each.min()) for each in maps])


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_masks_and_edges(folder: Path, configs: dict[str, Any], text: Tensor, tta: Any) -> None:
    smooth = functional.interpolate(torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0)), (SIZE, SIZE))
    images = [np.rint(each.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for each in smooth]
    settings = PredictSettings(SIZE, tta=tta, edges=True)
    predictor = Predictor(network(folder, text), VaeCodec(autoencoder(folder, configs)), settings, seed=3)
    found = predictor.predict(images, ["a", "b"])
    unet, vae = network(folder, text), autoencoder(folder, configs)
    for image, name, prediction in zip(images, "ab", found, strict=True):
        picture = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        runs = []
        for flip in (False, True) if tta == "flip" else (False,):
            noise = torch.randn(1, 4, SIZE // 8, SIZE // 8, generator=noise_generator(name, 3, 0, 1.0, flip))
            with torch.no_grad():
                maps = plain_loop(unet, vae, configs, picture.flip(-1) if flip else picture, noise)
            runs.append(maps.flip(-1) if flip else maps)
        mask, edge = torch.stack(runs).mean(0)
        assert mask.std() > 0.05
        assert prediction.edge is not None
        torch.testing.assert_close(torch.from_numpy(prediction.mask), mask, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(torch.from_numpy(prediction.edge), edge, atol=TOLERANCE, rtol=0)
