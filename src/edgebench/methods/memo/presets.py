"""Sizes of the MEMO network: the two published ones and two that train on a CPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgebench.errors import ConfigError


@dataclass(frozen=True)
class DinoConfig:
    """A DINOv2 vision transformer (patch 14, trained at 518 x 518).

    Attributes:
        hidden: Width of a token.
        depth: Transformer blocks.
        heads: Attention heads.
        registers: Register tokens; 0 is the model without, which also resamples its positions differently.
        size: What the image is resized to (height, width), or "adaptive": the largest multiples of 14 that
            fit into the image.
    """

    hidden: int
    depth: int
    heads: int
    registers: int
    size: tuple[int, int] | Literal["adaptive"] = (224, 224)


@dataclass(frozen=True)
class NetworkConfig:
    """What is needed to build a MEMO network.

    Attributes:
        embedding: Channels of the token embedding.
        channels: Channels of the UNet's levels, fine to coarse.
        layers: ResNet blocks per level on the way down; one more on the way up.
        groups: Groups of every GroupNorm.
        dino: The image encoder, or None for a network that sees the image only through its first convolution.
        embedding_std: Spread of the untrained token embedding. At 1, as released, it drowns the image in the
            first convolution, and a small network trained for minutes answers with a constant.
    """

    embedding: int
    channels: tuple[int, ...]
    layers: int
    groups: int
    dino: DinoConfig | None = None
    embedding_std: float = 1.0

    @property
    def divisor(self) -> int:
        """Height and width of an image must be multiples of this."""
        return int(2 ** (len(self.channels) - 1))

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> NetworkConfig:
        """The configuration that `to_dict` wrote.

        Raises:
            ConfigError: a key is missing or unknown.
        """
        try:
            rest = dict(values)
            dino = rest.pop("dino", None)
            if dino is not None:
                size = dino["size"]
                dino = DinoConfig(**{**dino, "size": size if size == "adaptive" else tuple(size)})
            return NetworkConfig(**{**rest, "channels": tuple(rest["channels"])}, dino=dino)
        except (TypeError, KeyError) as error:
            raise ConfigError(
                f"MEMO network configuration {values}: {error}. Expected the keys embedding, channels, "
                f"layers, groups and dino."
            ) from error


PRESETS: dict[str, NetworkConfig] = {
    "default": NetworkConfig(32, (128, 256, 512, 768), 2, 32, DinoConfig(768, 12, 12, registers=4)),
    "tiny": NetworkConfig(16, (64, 128, 192), 5, 16, DinoConfig(384, 12, 6, registers=0)),
    "mini": NetworkConfig(8, (16, 32, 64, 96), 1, 8, embedding_std=0.1),
    "small": NetworkConfig(8, (16, 32, 64), 1, 8, embedding_std=0.1),
}
"""`default` (238,343,906 parameters) and `tiny` (40,490,290) are the authors'; `mini` is for training on
crops of 128-160 px on a CPU and `small` for scenes of 64 px."""


def preset(name: str) -> NetworkConfig:
    """The network configuration called `name`.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"MEMO preset {name!r} is unknown; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
