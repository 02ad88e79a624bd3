"""Masks through the code and back: the best that any prediction in its latents can be (paper, table 1)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from edgebench.errors import ConfigError
from edgebench.methods.codec import Codec
from edgebench.methods.diffdis.augment import resized, stretch


@torch.inference_mode()
def reconstruct(codec: Codec, mask: NDArray[np.uint8], size: int, device: torch.device | str = "cpu") -> NDArray:
    """Encode and decode a mask as if it had been predicted.

    Args:
        codec: Code of pictures; moved to `device`.
        mask: uint8 (H, W), 0 to 255.
        size: Side of the square that it is resized to first, a multiple of the code's factor. Pixels.
        device: Where to compute.

    Returns:
        float32 (H, W) in [0, 1], stretched to its own range as predictions are.

    Raises:
        ConfigError: the size does not fit the code.
    """
    if size < 1 or size % codec.factor:
        raise ConfigError(f"DiffDIS reconstruction: size {size} must be a multiple of {codec.factor} here.")
    square = torch.from_numpy(np.array(resized(Image.fromarray(mask), size, size)))[None, None]
    picture = square.to(device).float().expand(-1, 3, -1, -1) / 127.5 - 1
    decoded: Tensor = codec.to(device).decode(codec.encode(picture))
    found = stretch((decoded.clip(-1, 1) + 1) / 2)[0, 0].cpu().numpy()
    return np.array(resized(Image.fromarray(found), *mask.shape))
