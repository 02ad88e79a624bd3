"""The two networks behind FID and LPIPS, with the names of their published weights, on torch alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

FID_FEATURES = 2048
FID_SIDE = 299
ALEX_CHANNELS = (64, 192, 384, 256, 256)


class AlexFeatures(nn.Module):
    """AlexNet's five convolutions, with torchvision's names, on images normalised as LPIPS does."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        channels = (3, *ALEX_CHANNELS)
        kernels = {0: (11, 4, 2), 3: (5, 1, 2), 6: (3, 1, 1), 8: (3, 1, 1), 10: (3, 1, 1)}
        self.features = nn.ModuleDict(
            {
                str(place): nn.Conv2d(channels[k], channels[k + 1], kernel, stride=stride, padding=padding)
                for k, (place, (kernel, stride, padding)) in enumerate(kernels.items())
            }
        )
        # The ImageNet statistics in the range [-1, 1].
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Responses after each rectification.

        Args:
            images: (B, 3, H, W) float in [0, 1], at least 31 pixels on each side.

        Returns:
            Five tensors (B, C, h, w), from fine to coarse.
        """
        x = (2 * images - 1 - self.shift) / self.scale
        found = []
        for place, convolution in self.features.items():
            if place in ("3", "6"):
                x = functional.max_pool2d(x, 3, stride=2)
            x = functional.relu(convolution(x))
            found.append(x)
        return found


class _Convolution(nn.Module):
    """Convolution, batch normalisation and rectification; `same` padding without a stride, else none."""

    def __init__(self, inputs: int, outputs: int, kernel: Any, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        high, wide = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = (high // 2, wide // 2) if stride == 1 and padded else 0
        self.conv = nn.Conv2d(inputs, outputs, (high, wide), stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _Mixed(nn.Module):
    """Branches side by side, joined over channels.

    A branch is a list of steps: `avg`, `max` or `halve` (pooling), a convolution (name, channels, kernel, stride),
    or, as the last step, a pair of convolutions whose results are joined.
    """

    def __init__(self, inputs: int, *branches: list[Any]) -> None:
        super().__init__()
        self.branches: list[list[Any]] = []
        for branch in branches:
            steps: list[Any] = []
            before = inputs
            for step in branch:
                if isinstance(step, str):
                    steps.append(step)
                    continue
                pair = step if isinstance(step[0], tuple) else (step,)
                for name, outputs, *rest in pair:
                    self.add_module(name, _Convolution(before, outputs, *rest))
                steps.append([name for name, *_ in pair])
                before = pair[0][1]
            self.branches.append(steps)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._branch(steps, x) for steps in self.branches], 1)

    def _branch(self, steps: list[Any], x: Tensor) -> Tensor:
        for step in steps:
            if step == "avg":
                x = functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
            elif step == "max":
                x = functional.max_pool2d(x, 3, stride=1, padding=1)
            elif step == "halve":
                x = functional.max_pool2d(x, 3, stride=2)
            else:
                x = torch.cat([self.get_submodule(name)(x) for name in step], 1)
        return x


def _a(inputs: int, pooled: int) -> _Mixed:
    return _Mixed(
        inputs,
        [("branch1x1", 64, 1)],
        [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        ["avg", ("branch_pool", pooled, 1)],
    )


def _b(inputs: int) -> _Mixed:
    return _Mixed(
        inputs,
        [("branch3x3", 384, 3, 2)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, 2)],
        ["halve"],
    )


def _c(inputs: int, width: int) -> _Mixed:
    high, wide = (7, 1), (1, 7)
    return _Mixed(
        inputs,
        [("branch1x1", 192, 1)],
        [("branch7x7_1", width, 1), ("branch7x7_2", width, wide), ("branch7x7_3", 192, high)],
        [
            ("branch7x7dbl_1", width, 1),
            ("branch7x7dbl_2", width, high),
            ("branch7x7dbl_3", width, wide),
            ("branch7x7dbl_4", width, high),
            ("branch7x7dbl_5", 192, wide),
        ],
        ["avg", ("branch_pool", 192, 1)],
    )


def _d(inputs: int) -> _Mixed:
    return _Mixed(
        inputs,
        [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)],
        [
            ("branch7x7x3_1", 192, 1),
            ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
            ("branch7x7x3_4", 192, 3, 2),
        ],
        ["halve"],
    )


def _e(inputs: int, pool: str) -> _Mixed:
    wide, high = (1, 3), (3, 1)
    return _Mixed(
        inputs,
        [("branch1x1", 320, 1)],
        [("branch3x3_1", 384, 1), (("branch3x3_2a", 384, wide), ("branch3x3_2b", 384, high))],
        [
            ("branch3x3dbl_1", 448, 1),
            ("branch3x3dbl_2", 384, 3),
            (("branch3x3dbl_3a", 384, wide), ("branch3x3dbl_3b", 384, high)),
        ],
        [pool, ("branch_pool", 192, 1)],
    )


class InceptionFeatures(nn.Module):
    """The Inception network that FID is defined by: TensorFlow's of 2015-12-05, as ported for pytorch-fid.

    It differs from torchvision's Inception v3 in its pooling: averages leave out the padding, and the last block
    takes maxima. Without the final classifier.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3, padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _a(192, 32), _a(256, 64), _a(288, 64)
        self.Mixed_6a = _b(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (_c(768, each) for each in (128, 160, 160, 192))
        self.Mixed_7a = _d(768)
        self.Mixed_7b, self.Mixed_7c = _e(1280, "avg"), _e(2048, "max")

    def forward(self, images: Tensor) -> Tensor:
        """Features of the last pooling.

        Args:
            images: (B, 3, H, W) float in [0, 1]; resized to 299 x 299 (bilinear, without smoothing).

        Returns:
            (B, 2048).
        """
        x = 2 * functional.interpolate(images, size=(FID_SIDE, FID_SIDE), mode="bilinear", align_corners=False) - 1
        for name, block in self.named_children():
            x = block(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = functional.max_pool2d(x, 3, stride=2)
        return x.mean(dim=(2, 3))
