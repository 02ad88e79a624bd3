"""Pictures to latents and back: the VAE of Stable Diffusion, or a closed-form code of patches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgebench.errors import ConfigError


class Codec(Protocol):
    """What a method asks of a code of pictures.

    Attributes:
        factor: Side of the square of pixels that one latent stands for.
        channels: Numbers in one latent.
    """

    factor: int
    channels: int

    def to(self, device: Any, /) -> Any:
        """Move to a device."""

    def encode(self, pictures: Tensor) -> Tensor:
        """RGB (B, 3, H, W) in [-1, 1] -> latents (B, channels, H / factor, W / factor) of about unit spread."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> grey (B, 1, H, W), the mean of the three colours, around [-1, 1] but not clipped."""
        ...

    def decode_colour(self, latents: Tensor) -> Tensor:
        """Latents -> RGB (B, 3, H, W), around [-1, 1] but not clipped."""
        ...


class VaeCodec(nn.Module):
    """The frozen autoencoder of a latent diffusion model; the mean of its posterior is taken, without sampling.

    Pictures go through it one by one: at 1024 pixels one fills a GPU, and several would only take more memory.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        precision: Literal["fp32", "bf16"] = "fp32",
        tiled: bool = False,
        colour: bool = False,
    ) -> None:
        """Take over `vae`, whose last convolution is averaged over the colours: masks and edges are grey.

        Args:
            vae: Autoencoder.
            precision: Of its convolutions.
            tiled: Encode and decode large pictures in overlapping tiles: less memory, and results that differ slightly.
            colour: Leave the last convolution alone, so that colours can be decoded too.
        """
        super().__init__()
        kept: Any = vae
        self.vae = kept.eval().requires_grad_(False)
        self.precision = precision
        self.factor = 2 ** (len(kept.config["block_out_channels"]) - 1)
        self.channels = int(kept.config["latent_channels"])
        self.scaling = float(kept.config["scaling_factor"])
        self.shift = float(kept.config.get("shift_factor") or 0)
        self.colour = colour
        if not colour:
            colours = self.vae.decoder.conv_out
            grey = nn.Conv2d(colours.in_channels, 1, colours.kernel_size, padding=colours.padding)
            grey.weight.data = colours.weight.data.mean(0, keepdim=True)
            grey.bias.data = colours.bias.data.mean(0, keepdim=True)  # type: ignore[union-attr]
            self.vae.decoder.conv_out = grey.requires_grad_(False)
        self.vae.enable_slicing()
        if tiled:
            self.vae.enable_tiling()

    def encode(self, pictures: Tensor) -> Tensor:
        """As in `Codec`."""
        with self._autocast(pictures):
            return (self.vae.encode(pictures).latent_dist.mode().float() - self.shift) * self.scaling

    def decode(self, latents: Tensor) -> Tensor:
        """As in `Codec`."""
        return self._decoded(latents).mean(1, keepdim=True) if self.colour else self._decoded(latents)

    def decode_colour(self, latents: Tensor) -> Tensor:
        """As in `Codec`.

        Raises:
            ConfigError: the code was made without colour.
        """
        if not self.colour:
            raise ConfigError("This autoencoder decodes grey alone. Make its code with colour=True.")
        return self._decoded(latents)

    def _decoded(self, latents: Tensor) -> Tensor:
        with self._autocast(latents):
            return self.vae.decode(latents / self.scaling + self.shift).sample.float()

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, torch.bfloat16, enabled=self.precision == "bf16")


class PatchCodec(nn.Module):
    """Principal components of patches, which stand in for a VAE at small scale: nothing to train or fetch.

    One number scales all latents to unit spread together, as in Stable Diffusion.
    """

    mean: Tensor
    basis: Tensor
    scale: Tensor

    def __init__(self, factor: int = 4, channels: int = 16) -> None:
        super().__init__()
        self.factor = factor
        self.channels = channels
        self.register_buffer("mean", torch.zeros(3 * factor**2))
        self.register_buffer("basis", torch.zeros(channels, 3 * factor**2))
        self.register_buffer("scale", torch.ones(()))

    @staticmethod
    def fit(pictures: Iterable[NDArray[np.uint8]], factor: int = 4, channels: int = 16) -> PatchCodec:
        """Fit a code to the patches of `pictures`, in closed form.

        Args:
            pictures: uint8 (H, W, 3) images and (H, W) masks and edges, of any sizes: all that the code is to carry.
            factor: Side of a patch in pixels.
            channels: Principal components kept, at most 3 * factor**2.

        Raises:
            ConfigError: there are not so many components.
        """
        size = 3 * factor**2
        if not 1 <= channels <= size:
            raise ConfigError(
                f"A code of patches of {factor} x {factor} pixels has 1 to {size} channels, not {channels}."
            )
        codec = PatchCodec(factor, channels)
        count, total, products = 0, torch.zeros(size).double(), torch.zeros(size, size).double()
        for each in pictures:
            colour = each if each.ndim == 3 else np.repeat(each[..., None], 3, axis=2)
            height, width = (side // factor * factor for side in colour.shape[:2])
            if not height * width:
                continue
            whole = torch.from_numpy(np.ascontiguousarray(colour[:height, :width])).permute(2, 0, 1)[None]
            patches = codec._patches(whole.double() / 127.5 - 1).flatten(2)[0]
            count, total, products = count + patches.shape[1], total + patches.sum(1), products + patches @ patches.T
        mean = total / count
        variances, vectors = torch.linalg.eigh(products / count - mean.outer(mean))
        codec.mean.copy_(mean)
        codec.basis.copy_(vectors.T.flip(0)[:channels])
        # Pictures that are all alike have no spread: any scale will do but 0.
        codec.scale.copy_(variances.flip(0)[:channels].mean().clamp_min(1e-12).sqrt())
        return codec

    def encode(self, pictures: Tensor) -> Tensor:
        """As in `Codec`."""
        centred = self._patches(pictures) - self.mean[:, None, None]
        return torch.einsum("kp,bphw->bkhw", self.basis, centred) / self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """As in `Codec`."""
        # The mean over the colours commutes with the code, so a third of the numbers suffices.
        basis, mean = (each.unflatten(-1, (3, -1)).mean(-2) for each in (self.basis, self.mean))
        patches = torch.einsum("kp,bkhw->bphw", basis, latents * self.scale) + mean[:, None, None]
        return functional.pixel_shuffle(patches, self.factor)

    def decode_colour(self, latents: Tensor) -> Tensor:
        """As in `Codec`."""
        patches = torch.einsum("kp,bkhw->bphw", self.basis, latents * self.scale) + self.mean[:, None, None]
        return functional.pixel_shuffle(patches, self.factor)

    def _patches(self, pictures: Tensor) -> Tensor:
        return functional.pixel_unshuffle(pictures, self.factor)
