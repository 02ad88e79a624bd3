"""Sizes and switches of the DiffDIS network: the published one, and one that trains on a CPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from edgebench.errors import ConfigError

Interaction = Literal["mutual", "concat", "self", "none"]
Prediction = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True)
class NetworkConfig:
    """What is needed to build a DiffDIS network: a UNet of the Stable Diffusion family and DiffDIS' additions.

    Attributes:
        channels: Channels of the UNet's levels, fine to coarse.
        heads: Attention heads of each level.
        attention: Whether each level has cross-attention blocks; the middle block always has.
        layers: ResNet blocks per level on the way down; one more on the way up.
        groups: Groups of every GroupNorm.
        text: Width of the text embedding.
        tokens: Tokens of the empty text (2: begin and end); it is a constant of the network.
        linear: Linear projections around the transformer blocks (SD 2 family) or 1x1 convolutions (SD 1).
        latent: Channels of a latent.
        prediction: What the network's output is: the noise, the velocity, or the clean latent itself.
        edge: Predict the edge beside the mask, as a second stream in the batch.
        stream_embedding: Batch-discriminative embedding, which tells the network the stream of each item.
        interaction: What the third attention of the middle block attends to: the other stream (`mutual`, the
            paper's), both streams (`concat`, as in GeoWizard), the own stream alone (`self`, a control of
            equal size), or there is none.
        injection: Scale-wise conditional injection of the smaller pictures into the skips.

    Raises:
        ConfigError: the levels do not match, or an addition lacks the edge stream it needs.
    """

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    heads: tuple[int, ...] = (5, 10, 20, 20)
    attention: tuple[bool, ...] = (True, True, True, False)
    layers: int = 2
    groups: int = 32
    text: int = 1024
    tokens: int = 2
    linear: bool = True
    latent: int = 4
    prediction: Prediction = "epsilon"
    edge: bool = True
    stream_embedding: bool = True
    interaction: Interaction = "mutual"
    injection: bool = True

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.heads) == len(self.attention) >= 2:
            raise ConfigError(
                f"DiffDIS network: channels {self.channels}, heads {self.heads} and attention {self.attention} "
                f"must name the same levels, two at least."
            )
        for key, value, known in (
            ("interaction", self.interaction, get_args(Interaction)),
            ("prediction", self.prediction, get_args(Prediction)),
        ):
            if value not in known:
                raise ConfigError(f"DiffDIS network: {key} {value!r} is unknown; choose one of {', '.join(known)}.")
        if not self.edge and (self.interaction != "none" or self.stream_embedding):
            raise ConfigError(
                "DiffDIS network: without the edge stream there is nothing to tell apart. "
                "Set stream_embedding: false and interaction: none, or edge: true."
            )

    @property
    def streams(self) -> int:
        """1 (mask) or 2 (mask and edge)."""
        return 2 if self.edge else 1

    @property
    def divisor(self) -> int:
        """Height and width of a latent must be multiples of this."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def injected(self) -> int:
        """How many smaller pictures the network is given: one per halving of the latent."""
        return len(self.channels) - 1 if self.injection else 0

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> NetworkConfig:
        """The configuration that `to_dict` wrote.

        Raises:
            ConfigError: a key is unknown or a value impossible.
        """
        try:
            known: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
            return NetworkConfig(**known)
        except TypeError as error:
            raise ConfigError(f"DiffDIS network configuration {values}: {error}.") from error


PRESETS: dict[str, NetworkConfig] = {
    "full": NetworkConfig(),
    "mini": NetworkConfig(
        channels=(32, 64, 128, 192),
        heads=(2, 4, 8, 8),
        attention=(False, False, True, True),
        layers=1,
        groups=8,
        text=32,
        tokens=1,
        latent=16,
        prediction="sample",
    ),
    "small": NetworkConfig(
        channels=(32, 64, 128),
        heads=(2, 4, 8),
        attention=(False, False, True),
        layers=1,
        groups=8,
        text=32,
        tokens=1,
        latent=16,
        prediction="sample",
    ),
}
"""`full` (912,924,804 parameters) is the authors', on SD-Turbo or SD 2.1. `mini` (11,086,480) is for photographs of
128 px, `small` (4,026,768) for scenes of 64 to 96 px; started from scratch, on a CPU in minutes or half an hour, these
answer with the clean latents themselves."""


def preset(name: str) -> NetworkConfig:
    """The network configuration called `name`.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"DiffDIS preset {name!r} is unknown; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]
