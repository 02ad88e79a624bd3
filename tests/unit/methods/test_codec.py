"""Codes of pictures: the VAE of Stable Diffusion and the closed-form one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from edgebench.errors import ConfigError
from edgebench.methods.codec import PatchCodec, VaeCodec

torch.set_num_threads(1)


def vae() -> Any:
    torch.manual_seed(0)
    made: Any = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        norm_num_groups=4,
        sample_size=32,
    )
    return made.eval()


def smooth(count: int, side: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    made = []
    for _ in range(count):
        waves = [np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y + rng.uniform(0, 6)) for _ in range(3)]
        made.append(np.rint(127.5 + 120 * np.stack(waves, -1)).astype(np.uint8))
    return made


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1


class TestPatchCodec:
    def test_carries_pictures_and_masks(self) -> None:
        masks = [((picture[..., 0] > 128) * 255).astype(np.uint8) for picture in smooth(6)]
        codec = PatchCodec.fit([*smooth(6), *masks], 4, 16)
        mask = torch.from_numpy(masks[0])[None, None].float() / 127.5 - 1
        latents = codec.encode(mask.expand(-1, 3, -1, -1))
        assert latents.shape == (1, 16, 8, 8)
        assert ((codec.decode(latents) > 0) == (mask > 0)).float().mean() > 0.99
        image = tensor(smooth(1)[0])
        # Both sides averaged over the colours.
        assert (codec.decode(codec.encode(image)) - image.mean(1, keepdim=True)).square().mean() < 0.01

    def test_one_scale_for_all(self) -> None:
        codec = PatchCodec.fit(smooth(6), 4, 8)
        latents = torch.cat([codec.encode(tensor(picture)) for picture in smooth(6)])
        assert float(latents.square().mean().sqrt()) == pytest.approx(1, abs=0.05)
        spread = latents.std(dim=(0, 2, 3))
        assert (spread[:-1] >= spread[1:] - 1e-3).all()  # components come in their order, not whitened
        assert spread[0] > 2 * spread[-1]

    def test_all_components_lose_nothing(self) -> None:
        codec = PatchCodec.fit(smooth(4), 2, 12)
        image = tensor(smooth(5)[-1])
        expected = image.mean(1, keepdim=True)
        torch.testing.assert_close(codec.decode(codec.encode(image)), expected, atol=1e-4, rtol=0)

    def test_decodes_colours(self) -> None:
        codec, image = PatchCodec.fit(smooth(4), 2, 12), tensor(smooth(5)[-1])
        latents = codec.encode(image)
        torch.testing.assert_close(codec.decode_colour(latents), image, atol=1e-4, rtol=0)
        torch.testing.assert_close(codec.decode(latents), codec.decode_colour(latents).mean(1, keepdim=True))

    def test_pictures_without_spread_have_a_code_too(self) -> None:
        grey = np.full((8, 8), 77, np.uint8)
        codec = PatchCodec.fit([grey, grey], 4, 5)
        picture = tensor(np.repeat(grey[..., None], 3, axis=2))
        latents = codec.encode(picture)
        assert torch.isfinite(latents).all()
        torch.testing.assert_close(codec.decode(latents), picture[:, :1], atol=1e-5, rtol=0)

    def test_more_components_than_there_are(self) -> None:
        with pytest.raises(ConfigError, match="1 to 12 channels, not 13"):
            PatchCodec.fit(smooth(1), 2, 13)

    def test_odd_sizes_are_cut(self) -> None:
        PatchCodec.fit([smooth(1)[0][:31, :30], np.zeros((3, 9), np.uint8)], 4, 4)


class TestVaeCodec:
    def test_latents_are_the_scaled_mean(self) -> None:
        picture = torch.rand(1, 3, 32, 48) * 2 - 1
        with torch.no_grad():
            expected = vae().encode(picture).latent_dist.mean * 0.18215
            found = VaeCodec(vae()).encode(picture)
        torch.testing.assert_close(found, expected)
        assert (VaeCodec(vae()).factor, VaeCodec(vae()).channels) == (4, 4)

    def test_decodes_the_mean_of_the_colours(self) -> None:
        latents = torch.randn(2, 4, 8, 8)
        with torch.no_grad():
            expected = vae().decode(latents / 0.18215).sample.mean(1, keepdim=True)
            torch.testing.assert_close(VaeCodec(vae()).decode(latents), expected, atol=1e-5, rtol=1e-5)

    def test_decodes_colours_where_it_was_made_to(self) -> None:
        latents, codec = torch.randn(2, 4, 8, 8), VaeCodec(vae(), colour=True)
        with torch.no_grad():
            expected = vae().decode(latents / 0.18215).sample
            torch.testing.assert_close(codec.decode_colour(latents), expected)
            torch.testing.assert_close(codec.decode(latents), expected.mean(1, keepdim=True))
        assert codec.state_dict().keys() == VaeCodec(vae()).state_dict().keys()
        with pytest.raises(ConfigError, match="grey alone"):
            VaeCodec(vae()).decode_colour(latents)

    def test_latents_are_shifted_as_the_autoencoder_says(self) -> None:
        shifted = vae()
        shifted.register_to_config(shift_factor=0.0609, scaling_factor=1.5305)
        picture, codec = torch.rand(1, 3, 32, 32) * 2 - 1, VaeCodec(shifted, colour=True)
        with torch.no_grad():
            latents = codec.encode(picture)
            torch.testing.assert_close(latents, (vae().encode(picture).latent_dist.mean - 0.0609) * 1.5305)
            torch.testing.assert_close(codec.decode_colour(latents), vae().decode(latents / 1.5305 + 0.0609).sample)

    def test_tiles(self) -> None:
        latents = torch.randn(2, 4, 12, 20)
        with torch.no_grad():
            whole, tiled = VaeCodec(vae()).decode(latents), VaeCodec(vae(), tiled=True).decode(latents)
        assert tiled.shape == whole.shape == (2, 1, 48, 80)
        assert 0 < (tiled - whole).abs().mean() < whole.abs().mean()

    def test_half_precision_gives_float32(self) -> None:
        picture = torch.rand(1, 3, 32, 32)
        with torch.no_grad():
            full, half = VaeCodec(vae()).encode(picture), VaeCodec(vae(), "bf16").encode(picture)
        assert half.dtype == torch.float32
        assert 0 < (full - half).abs().max() < 0.05

    def test_is_frozen(self) -> None:
        assert not any(parameter.requires_grad for parameter in VaeCodec(vae()).parameters())
