"""From images to edge maps with a trained MEMO network."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgebench.errors import ConfigError, EdgebenchError
from edgebench.methods.memo.inference import Denoiser, without_adapters
from edgebench.methods.memo.network import MASK, MemoNetwork
from edgebench.methods.memo.reveal import Denoise, OnStep, RevealSettings, reveal
from edgebench.methods.memo.tiles import (
    OVERLAP,
    PADDING,
    blend_weights,
    pad_symmetric,
    padded_size,
    shrink,
    shrunk_size,
    tile_starts,
)

CPU_PIXELS = 128 * 128
"""So many pixels go through the network at a time on a CPU: small batches stay in its caches."""

KEPT_SIZES = 4
"""Of the black image, features and first answer are kept for so many sizes."""

COMPILED_SHAPES = 64
"""A compiled network may be specialised to so many shapes."""


@dataclass(frozen=True)
class Prediction:
    """What MEMO says about one image.

    Attributes:
        probability: float32 (H, W) in [0, 1], of an edge, in the step that revealed the pixel.
        edges: uint8 (H, W), 1 where an edge was revealed.
        rounds: Reveal steps until the image was finished. A guided one takes two passes of the network, of which
            the first unconditional pass is shared by all images of a size.
    """

    probability: NDArray[np.float32]
    edges: NDArray[np.uint8]
    rounds: int


OnFrame = Callable[[str, int, NDArray[np.uint8], NDArray[np.float32]], None]
"""Called per image and step: name, step, tokens uint8 (H, W) (0 background, 1 edge, 2 masked) and edge
probability float32 (H, W), which is 0 where the pixel is masked."""


def random_priority(name: str, seed: int, height: int, width: int) -> Tensor:
    """Random numbers (H, W) that depend on the image's name, the seed and the size alone."""
    generator = torch.Generator().manual_seed(derived_seed(seed, name))
    return torch.rand(height, width, generator=generator)


def derived_seed(seed: int, *names: str) -> int:
    """A seed below 2^56 that depends on `seed` and on the names, in their order."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:7], "big")


class Predictor:
    """Predicts edge maps with one network and one way of revealing.

    The result of an image does not depend on the images that share its batch (up to rounding). Only compat
    "official", which draws from PyTorch's global generator for all of them in turn, depends on the batch: its
    generator is seeded from the seed and the names before each.
    """

    def __init__(
        self,
        network: MemoNetwork,
        settings: RevealSettings,
        guidance: float = 1.0,
        device: torch.device | str = "cpu",
        precision: Literal["fp32", "bf16"] = "fp32",
        batch_size: int = 4,
        seed: int = 0,
        *,
        long_side: int | None = None,
        tile: int | None = None,
        scales: Sequence[float] = (1.0,),
        dino_size: Literal["fixed", "adaptive"] = "fixed",
        compile: bool = False,
    ) -> None:
        """Take over `network`, which is moved to `device` and set to evaluation; adapters are merged.

        Args:
            network: Trained network.
            settings: Reveal strategy and steps.
            guidance: Scale s of classifier-free guidance, logits = u + s (c - u); 1 needs no second pass.
            device: Where to compute.
            precision: Of the network; confidences are float32 always.
            batch_size: Images per batch; only images of one padded size share a batch.
            seed: Of the random reveal, and of what compat "official" draws.
            long_side: Larger images are shrunk to it; see `Predictor.predict`.
            tile: Larger images go through the network in tiles of this side (approximate).
            scales: The logits are averaged over the image at these scales.
            dino_size: What DINOv2 sees: the size that the network was built for, or the image's own.
            compile: Let torch.compile specialise the network to each shape; if it cannot, a warning says so.

        Raises:
            ConfigError: a value is out of range.
        """
        if not 1 <= guidance < math.inf:
            raise ConfigError(f"guidance {guidance}: give a finite scale of at least 1 (1 is no guidance).")
        if precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision {precision!r} is unknown; choose fp32 or bf16.")
        if dino_size not in ("fixed", "adaptive"):
            raise ConfigError(f"dino_size {dino_size!r} is unknown; choose fixed or adaptive.")
        if long_side is not None and long_side < 1:
            raise ConfigError(f"long_side {long_side}: give a number of pixels from 1, or null.")
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise ConfigError(f"scales {list(scales)}: give one or more factors above 0, for example [0.5, 1, 2].")
        if tile is not None and (tile <= OVERLAP or tile % PADDING):
            raise ConfigError(f"tile {tile}: give a multiple of {PADDING} above {OVERLAP}, or null.")
        if tile is not None and tuple(scales) != (1.0,):
            raise ConfigError("tile and scales cannot go together; give one of them.")
        self.network = without_adapters(network).to(device).eval()
        # Channels last halves the time of bf16 convolutions on CPUs with matrix units, and suits GPUs too. Not so
        # float32 on CPUs: PyTorch's group normalisation is a thousand times less exact there in that layout.
        plain = torch.device(device).type == "cpu" and precision == "fp32"
        self._layout = torch.contiguous_format if plain else torch.channels_last
        self.network.to(memory_format=self._layout)  # type: ignore[call-overload]
        if self.network.dino is not None and self.network.config.dino is not None:
            self.network.dino.size = "adaptive" if dino_size == "adaptive" else self.network.config.dino.size
        self.settings = settings
        self.guidance = guidance
        self.device = torch.device(device)
        self.precision = precision
        self.batch_size = batch_size
        self.seed = seed
        self.long_side = long_side
        self.tile = tile
        self.scales = tuple(scales)
        self._denoiser = Denoiser(self.network)
        self._compiled: Callable[..., Tensor] | None = None
        if compile:
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, COMPILED_SHAPES)
            self._compiled = torch.compile(self._denoiser.denoise, dynamic=False)
        self._black_features: dict[tuple[int, int], Tensor] = {}
        self._black_logits: dict[tuple[int, int], Tensor] = {}

    @torch.inference_mode()
    def predict(
        self, images: Sequence[NDArray[np.uint8]], names: Sequence[str], on_frame: OnFrame | None = None
    ) -> list[Prediction]:
        """Edge maps of `images`, in their order and sizes.

        An image above `long_side` is shrunk by averaging areas, and the answer enlarged: labels by the nearest
        pixel, probabilities bilinearly.

        Args:
            images: uint8 (H, W, 3) RGB each, of any sizes.
            names: One per image; with the seed they decide what is drawn, and they appear in error messages.
            on_frame: Called after each step for each image that was not finished before it.

        Raises:
            EdgebenchError: the network answered with something that is not a number.
        """
        multiple = math.lcm(PADDING, self.network.divisor)
        groups: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            size = padded_size(image.shape[0], image.shape[1], self.long_side, multiple)
            groups.setdefault(size, []).append(index)
        result: dict[int, Prediction] = {}
        for members in groups.values():
            for start in range(0, len(members), self.batch_size):
                batch = members[start : start + self.batch_size]
                predictions = self._predict_batch(
                    [images[index] for index in batch], [names[index] for index in batch], multiple, on_frame
                )
                result.update(zip(batch, predictions, strict=True))
        return [result[index] for index in range(len(images))]

    def _predict_batch(
        self, images: list[NDArray[np.uint8]], names: list[str], multiple: int, on_frame: OnFrame | None
    ) -> list[Prediction]:
        """Predict images of one padded size."""
        seen = [shrunk_size(image.shape[0], image.shape[1], self.long_side) for image in images]
        small = [
            image if image.shape[:2] == size else shrink(image, *size) for image, size in zip(images, seen, strict=True)
        ]
        stacked = torch.from_numpy(np.stack([pad_symmetric(image, multiple) for image in small])).to(self.device)
        image = stacked.permute(0, 3, 1, 2).float().contiguous(memory_format=self._layout) / 255
        height, width = image.shape[-2:]
        priority = None
        if self.settings.strategy == "random" and self.settings.compat != "official":
            drawn = [random_priority(name, self.seed, height, width) for name in names]
            priority = torch.stack(drawn).to(self.device)

        def back(index: int, tokens: Tensor, probability: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
            """The answer for one image, cut and enlarged to its size."""
            rows, columns = seen[index]
            cut = tokens[None, None, index, :rows, :columns].float(), probability[None, None, index, :rows, :columns]
            size = images[index].shape[:2]
            if size != seen[index]:
                enlarged = functional.interpolate(cut[1], size=size, mode="bilinear", align_corners=False)
                cut = functional.interpolate(cut[0], size=size, mode="nearest"), enlarged
            return cut[0][0, 0].to(torch.uint8).cpu().numpy(), cut[1][0, 0].cpu().numpy()

        finished: set[int] = set()

        def show(step: int, tokens: Tensor, probability: Tensor) -> None:
            assert on_frame is not None
            left = (tokens == MASK).any(dim=2).any(dim=1).tolist()
            for index, name in enumerate(names):
                if index not in finished:
                    on_frame(name, step, *back(index, tokens, probability))
            finished.update(index for index, more in enumerate(left) if not more)

        on_step: OnStep | None = None if on_frame is None else show
        draws = self.settings.compat == "official" and self.settings.strategy != "topk"
        with (
            torch.random.fork_rng(devices=[], enabled=draws),  # what is drawn elsewhere stays as it would be
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            if draws:
                torch.default_generator.manual_seed(derived_seed(self.seed, *names))
            revealed = reveal(
                self._logits(image), (len(names), height, width), self.settings, self.device, priority, on_step
            )
        predictions = []
        for index, name in enumerate(names):
            edges, probability = back(index, revealed.edges, revealed.probability)
            if not np.isfinite(probability).all():
                raise EdgebenchError(
                    f"{name}: the network's answer is not a number. Use precision fp32, or check the weights."
                )
            predictions.append(Prediction(probability, edges, revealed.rounds[index]))
        return predictions

    def _logits(self, image: Tensor) -> Denoise:
        """What tells the logits of a fixed batch."""
        height, width = image.shape[-2:]
        if self.tile is not None and max(height, width) > self.tile:
            starts = [(top, left) for top in tile_starts(height, self.tile) for left in tile_starts(width, self.tile)]
            return self._in_tiles(image, starts)
        if self.scales != (1.0,):
            return self._at_scales(image)
        return self._guided(image, self.network.encode(image))

    def _guided(self, image: Tensor, features: Tensor | None) -> Denoise:
        """Guided logits of a fixed batch; what depends on the images alone is computed here, once."""
        denoiser, size = self._denoiser, (image.shape[-2], image.shape[-1])
        condition = denoiser.prepare(image, features)
        if self.guidance == 1:

            def plain(tokens: Tensor, ratio: Tensor, step: int, active: list[int]) -> Tensor:
                own = condition.of(active)
                return self._passes(denoiser.embed(tokens) + own.stem, denoiser.shifts(ratio), own.features)

            return plain
        nothing = torch.zeros_like(image[:1])
        black = denoiser.prepare(nothing, self._features_of_black(nothing))

        def guided(tokens: Tensor, ratio: Tensor, step: int, active: list[int]) -> Tensor:
            own, embedded, shifts = condition.of(active), denoiser.embed(tokens), denoiser.shifts(ratio)
            if step == 0:  # All is masked and the image black: one answer for every image of this size.
                unconditional = _kept(
                    self._black_logits,
                    size,
                    lambda: self._passes(embedded[:1] + black.stem, shifts[:1], black.features).float(),
                )
                conditional = self._passes(embedded + own.stem, shifts, own.features).float()
            else:
                both = torch.cat((embedded + own.stem, embedded + black.stem))
                both_features = None
                if own.features is not None and black.features is not None:
                    both_features = torch.cat((own.features, black.features.expand_as(own.features)))
                logits = self._passes(both, shifts.repeat(2, 1), both_features).float()
                conditional, unconditional = logits.chunk(2)
            return unconditional + self.guidance * (conditional - unconditional)

        return guided

    def _in_tiles(self, image: Tensor, starts: list[tuple[int, int]]) -> Denoise:
        """Logits of a large batch, blended from those of its overlapping tiles.

        Approximate: the network's normalisation and attention see a tile alone, and its own masked share.
        """
        side = self.tile
        assert side is not None
        crops = [(slice(top, top + side), slice(left, left + side)) for top, left in starts]
        features = [self.network.encode(image[:, :, rows, columns]) for rows, columns in crops]

        def denoise(tokens: Tensor, ratio: Tensor, step: int, active: list[int]) -> Tensor:
            total = torch.zeros(len(tokens), 2, *tokens.shape[1:], device=tokens.device)
            weight = torch.full(tokens.shape[1:], 1e-12, device=tokens.device)
            for (rows, columns), encoded in zip(crops, features, strict=True):
                crop = tokens[:, rows, columns]
                share = (crop == MASK).double().mean((1, 2))
                asked = share.nonzero()[:, 0].tolist()  # a tile that is revealed needs no answer
                if not asked:
                    continue
                # Anew in each step: kept for all tiles, this would fill the memory that tiles are to save.
                guided = self._guided(image[:, :, rows, columns], encoded)
                logits = guided(crop[asked], share[asked].float(), step, [active[each] for each in asked])
                ramp = torch.from_numpy(blend_weights(*crop.shape[1:])).to(tokens.device)
                total[asked, :, rows, columns] += ramp * logits
                weight[rows, columns] += ramp
            return total / weight

        return denoise

    def _at_scales(self, image: Tensor) -> Denoise:
        """Logits averaged over the batch at several scales; the state stays at the image's own resolution.

        At each scale the image is resized bilinearly (to the multiples of the padding nearest to the scaled
        size), the tokens by the nearest pixel, and the logits back bilinearly; the masked share is that of the
        state.
        """
        height, width = image.shape[-2:]
        multiple = math.lcm(PADDING, self.network.divisor)
        sizes = [
            tuple(max(1, round(side * scale / multiple)) * multiple for side in (height, width))
            for scale in self.scales
        ]
        resized = [
            image
            if size == (height, width)
            else functional.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
            for size in sizes
        ]
        guided = [self._guided(each, self.network.encode(each)) for each in resized]

        def denoise(tokens: Tensor, ratio: Tensor, step: int, active: list[int]) -> Tensor:
            total = torch.zeros(len(tokens), 2, height, width, device=tokens.device)
            for size, ask in zip(sizes, guided, strict=True):
                state = tokens
                if size != (height, width):
                    state = functional.interpolate(tokens[:, None].float(), size=size, mode="nearest")[:, 0].long()
                logits = ask(state, ratio, step, active).float()
                total += functional.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
            return total / len(sizes)

        return denoise

    def _passes(self, hidden: Tensor, shifts: Tensor, features: Tensor | None) -> Tensor:
        """`Denoiser.denoise`, in as large parts as suit the device."""
        count = len(hidden)
        part = max(1, CPU_PIXELS // hidden[0, 0].numel()) if self.device.type == "cpu" else count
        answers = [
            self._pass(
                hidden[start : start + part],
                shifts[start : start + part],
                None if features is None else features[start : start + part],
            )
            for start in range(0, count, part)
        ]
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    def _pass(self, hidden: Tensor, shifts: Tensor, features: Tensor | None) -> Tensor:
        if self._compiled is None:
            return self._denoiser.denoise(hidden, shifts, features)
        # Batches of 1, 2, 4 ... images, so that few shapes are compiled although finished images leave.
        count = len(hidden)
        rows = torch.arange(1 << (count - 1).bit_length(), device=hidden.device).clamp(max=count - 1)
        try:
            logits = self._compiled(
                hidden[rows].contiguous(memory_format=self._layout),
                shifts[rows],
                None if features is None else features[rows],
            )
        except Exception as error:  # no compiler, no Triton, an operation it does not know: all are raised here
            first = (str(error) or type(error).__name__).strip().splitlines()[0]
            warnings.warn(f"torch.compile failed ({first}); the network runs uncompiled.", stacklevel=2)
            self._compiled = None
            return self._denoiser.denoise(hidden, shifts, features)
        return logits[:count]

    def _features_of_black(self, black: Tensor) -> Tensor | None:
        """Features (1, C, h, w) of a black image, kept for the sizes that DINOv2 sees."""
        if self.network.dino is None:
            return None

        def encode() -> Tensor:
            features = self.network.encode(black)
            assert features is not None
            return features

        return _kept(self._black_features, self.network.dino.input_size(*black.shape[-2:]), encode)


def _kept(kept: dict[tuple[int, int], Tensor], size: tuple[int, int], make: Callable[[], Tensor]) -> Tensor:
    """What is kept for a size, made when it is not there; only the sizes that were used last are kept."""
    kept[size] = kept.pop(size) if size in kept else make()
    while len(kept) > KEPT_SIZES:
        del kept[next(iter(kept))]
    return kept[size]
