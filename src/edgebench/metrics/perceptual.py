"""Visual similarity of edge maps and drawings: the Frechet distance of features, and LPIPS.

Both are functions of features that published networks compute (`edgebench.metrics.perceptual_networks`); MEMO's visual
similarity table reports them as FID and LPIPS.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def frechet_distance(first: Floats, second: Floats) -> float:
    """Frechet distance of the Gaussians fitted to two sets of features (Heusel et al., NeurIPS 2017).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), with the unbiased covariances. With S1 = A'A and S2 = B'B the last
    trace is the sum of the singular values of A B', so that no root of a nearly singular matrix is taken: the value
    is right, real and not negative for any number of images. With fewer images than features the covariances are
    rank-deficient all the same, and the distance is larger than that of many images; see `rank_deficient`.

    Args:
        first: (n, d), n >= 2.
        second: (m, d), m >= 2.

    Raises:
        ValueError: the shapes do not fit, or a set has fewer than two rows.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features of shapes {first.shape} and {second.shape}; (n, d) and (m, d) are needed")
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} images; a covariance needs at least two")
    shift = first.mean(axis=0) - second.mean(axis=0)
    A, B = _root_of_covariance(first), _root_of_covariance(second)
    common = np.linalg.svd(A @ B.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + (A**2).sum() + (B**2).sum() - 2 * common))


def rank_deficient(images: int, features: int) -> bool:
    """Whether the covariance of `features` numbers cannot have full rank with so few `images`."""
    return images - 1 < features


def _root_of_covariance(features: Floats) -> Floats:
    """A matrix R of at most d rows with R'R the unbiased covariance of (n, d) `features`."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    if len(centred) <= centred.shape[1]:
        return centred
    return np.asarray(np.linalg.qr(centred, mode="r"))


def lpips_distance(first: Sequence[Floats], second: Sequence[Floats], weights: Sequence[Floats]) -> float:
    """Learned perceptual distance of two images from their features (Zhang et al., CVPR 2018).

    In each layer the features of a pixel are brought to unit length over channels; their squared differences are
    weighted per channel, averaged over pixels and added over layers. 0 for equal images; larger is less similar.

    Args:
        first: Features of one image per layer, (C, h, w).
        second: Those of the other image, of the same shapes.
        weights: The learned weight of each channel per layer, (C,), not negative.
    """
    distance = 0.0
    for a, b, weight in zip(first, second, weights, strict=True):
        difference = (_unit(a) - _unit(b)) ** 2
        distance += float((weight @ difference.reshape(len(weight), -1)).mean())
    return distance


def _unit(features: Floats) -> Floats:
    # The authors add 1e-10 to the length, not below the root: a pixel without any response stays zero.
    return features / (np.sqrt((features**2).sum(axis=0, keepdims=True)) + 1e-10)
