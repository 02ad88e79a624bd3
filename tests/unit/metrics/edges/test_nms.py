from __future__ import annotations

import math

import numpy as np
import pytest

from edgebench.metrics.edges import average_crispness, dollar_nms, orientation, suppress, triangle_filter


def ridges(shape=(40, 52), seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.exp(-((rows - 18 - 0.2 * columns) ** 2) / 8) + 0.6 * np.exp(-((columns - 30) ** 2) / 12)
    return np.clip(image + 0.05 * rng.random(shape), 0, 1)


def slow_triangle(image, radius):
    weights = np.array([radius + 1 - abs(k) for k in range(-radius, radius + 1)]) / (radius + 1) ** 2
    padded = np.pad(image, radius, mode="symmetric")
    out = np.zeros_like(image)
    for i, a in enumerate(weights):
        for j, b in enumerate(weights):
            out += a * b * padded[i : i + image.shape[0], j : j + image.shape[1]]
    return out


def slow_nms(image, angle, radius, border, multiplier):
    """The definition, pixel by pixel in float64."""
    height, width = image.shape

    def sample(x, y):
        x, y = min(max(x, 0), width - 1.001), min(max(y, 0), height - 1.001)
        x0, y0 = math.floor(x), math.floor(y)
        dx, dy = x - x0, y - y0
        top = image[y0, x0] * (1 - dx) + image[y0, x0 + 1] * dx
        return top * (1 - dy) + (image[y0 + 1, x0] * (1 - dx) + image[y0 + 1, x0 + 1] * dx) * dy

    out = image.copy()
    for y in range(height):
        for x in range(width):
            c, s = math.cos(angle[y, x]), math.sin(angle[y, x])
            around = [sample(x + d * c, y + d * s) for d in range(-radius, radius + 1) if d]
            if around and multiplier * image[y, x] < max(around):
                out[y, x] = 0
    frame_x = np.minimum(np.minimum(np.arange(width), np.arange(width)[::-1]) / max(border, 1), 1)
    frame_y = np.minimum(np.minimum(np.arange(height), np.arange(height)[::-1]) / max(border, 1), 1)
    return out * frame_x * frame_y[:, None] if border else out


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_triangle_filter_is_the_kernel_written_out(radius):
    image = ridges()
    np.testing.assert_allclose(triangle_filter(image, radius), slow_triangle(image, radius), atol=1e-6)
    np.testing.assert_allclose(triangle_filter(np.full((3, 2), 0.5), radius), 0.5, atol=1e-6)


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 110, 135, 160])
def test_orientation_across_a_straight_ridge(degrees):
    rows, columns = np.mgrid[:81, :81] - 40.0
    normal = np.deg2rad(degrees)
    across = columns * np.cos(normal) + rows * np.sin(normal)
    angle = orientation(np.exp(-(across**2) / 18))
    on_ridge = abs(across) < 0.5
    on_ridge[:15] = on_ridge[-15:] = False
    on_ridge[:, :15] = on_ridge[:, -15:] = False
    expected = np.arctan(np.sign(np.tan(normal)) * np.tan(normal) ** 2)
    turned = np.angle(np.exp(2j * (angle[on_ridge] - expected))) / 2
    assert on_ridge.any()
    assert np.abs(np.rad2deg(turned)).max() < 3


@pytest.mark.parametrize(("radius", "border", "multiplier"), [(1, 5, 1.01), (2, 5, 1.01), (4, 4, 1.0), (1, 0, 1.1)])
def test_suppression_equals_the_definition(radius, border, multiplier):
    image = ridges().astype(np.float32)
    angle = orientation(image)
    fast = suppress(image, angle, radius, border, multiplier)
    slow = slow_nms(image.astype(np.float64), angle.astype(np.float64), radius, border, multiplier)
    # float32 may decide otherwise where multiplier * e equals the sample almost exactly.
    assert (np.abs(fast - slow) > 1e-5).mean() < 0.003
    assert (fast > 0).sum() > 50


def test_the_frame_fades_and_its_edge_is_zero():
    flat = np.ones((20, 30), np.float32)
    kept = suppress(flat, np.zeros_like(flat), 1, 5, 1.01)
    np.testing.assert_allclose(kept[10, :6], [0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-6)
    np.testing.assert_allclose(kept[:6, 10], kept[10, :6])
    assert kept[1, 1] == pytest.approx(0.04)
    assert kept[-2, -2] == pytest.approx(0.04)


def test_dollar_nms_gives_8_bit_levels_on_thin_lines():
    image = ridges()
    kept = dollar_nms(image)
    levels = kept * 255
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-9)
    assert kept.min() >= 0
    assert kept.max() <= 1
    strong = kept > 0.3
    assert 0 < strong.sum() < 0.5 * (image > 0.3).sum()
    wide = dollar_nms(image, radius=4)
    assert (wide > 0).sum() < (kept > 0).sum()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 5)])
def test_tiny_and_blank_maps(shape):
    noise = np.random.default_rng(0).random(shape)
    for image in (noise, np.zeros(shape), np.ones(shape)):
        assert dollar_nms(image).shape == shape
        assert np.isfinite(dollar_nms(image)).all()
        assert 0 <= average_crispness(image) <= 1
    assert average_crispness(np.zeros(shape)) == 0


def test_crispness_is_the_share_of_mass_that_survives():
    image = ridges()
    raw = image.astype(np.float32)
    kept = suppress(raw, orientation(raw), 2, 5, 1.01)
    assert average_crispness(image) == pytest.approx(kept.sum(dtype=float) / raw.sum(dtype=float))
    line = np.zeros((40, 40))
    line[8:32, 20] = 1
    blurred = triangle_filter(line, 3)
    assert average_crispness(line) > 0.9
    assert average_crispness(blurred) < 0.5
