"""Where crops lie, against the released rule written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from edgebench.methods.memo.augment import crop_centres, pad_to_square, released_crop, uniform_crop


def picture(height: int, width: int) -> np.ndarray:
    """Every pixel tells its row and column, and none is black."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, np.full_like(rows, 200)], -1).astype(np.uint8)


def slow_centres(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    margin = side // 8
    forbidden = [
        (y, x)
        for y in range(height)
        for x in range(width)
        if min(y, x, height - 1 - y, width - 1 - x) < margin or not image[y, x].any()
    ]
    rows, columns = np.array(forbidden).T
    return np.array(
        [
            [np.hypot(rows - y, columns - x).min() > 0.5 * np.hypot(side, side) for x in range(width)]
            for y in range(height)
        ]
    )


def test_the_short_side_is_mirrored_at_both_ends() -> None:
    padded = pad_to_square(np.arange(15).reshape(3, 5))
    assert padded[:, 0].tolist() == [0, 0, 5, 10, 10]
    odd = pad_to_square(np.arange(8).reshape(2, 4)[:1])
    assert odd[:, 1].tolist() == [1, 1, 1, 1]
    assert pad_to_square(picture(4, 7)).shape == (7, 7, 3)
    assert pad_to_square(picture(4, 7))[:, 0, 0].tolist() == [0, 0, 1, 2, 3, 3, 2]  # the odd pixel goes below


@pytest.mark.parametrize("black", [[], [(20, 31)], [(2, 2), (40, 25)]])
def test_centres_keep_away_from_the_border_and_from_black(black: list[tuple[int, int]]) -> None:
    image = picture(50, 50)
    for place in black:
        image[place] = 0
    centres = crop_centres(image, 16)
    np.testing.assert_array_equal(centres, slow_centres(image, 16))
    assert centres.any()


def test_every_centre_is_drawn_and_no_other_place() -> None:
    image = pad_to_square(picture(26, 30))
    expected = {(int(y) - 8, int(x) - 8) for y, x in np.argwhere(crop_centres(image, 16))}
    seen = set()
    rng = np.random.default_rng(0)
    for _ in range(600):
        cut, edge = released_crop(image, image[:, :, 1] % 2 == 1, 16, rng)
        assert cut.shape == (16, 16, 3)
        np.testing.assert_array_equal(edge, cut[:, :, 1] % 2 == 1)
        # Rows are unique only where the padding did not mirror them: find the window by its own content.
        matches = [
            place
            for place in expected
            if np.array_equal(image[place[0] : place[0] + 16, place[1] : place[1] + 16], cut)
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert seen == expected


def test_without_a_centre_the_crop_is_the_middle_and_small_images_grow() -> None:
    image = picture(24, 24)
    assert not crop_centres(image, 16).any()
    cut, _ = released_crop(image, image[:, :, 0] > 3, 16, np.random.default_rng(0))
    np.testing.assert_array_equal(cut, image[4:20, 4:20])
    edge = np.zeros((8, 8), dtype=bool)
    edge[:, 4:] = True
    cut, grown = released_crop(picture(8, 8), edge, 16, np.random.default_rng(0))
    assert cut.shape == (16, 16, 3)
    assert grown.dtype == bool
    assert np.array_equal(grown, np.repeat(np.repeat(edge, 2, 0), 2, 1))


def test_uniform_crops_reach_the_corners() -> None:
    image = picture(18, 17)
    places = set()
    for seed in range(60):
        cut, edge = uniform_crop(image, image[:, :, 1] > 5, 16, np.random.default_rng(seed))
        np.testing.assert_array_equal(edge, cut[:, :, 1] > 5)
        places.add((int(cut[0, 0, 0]), int(cut[0, 0, 1])))
    assert places == {(y, x) for y in range(3) for x in range(2)}
    small, _ = uniform_crop(picture(5, 20), np.zeros((5, 20), bool), 16, np.random.default_rng(0))
    assert small.shape == (16, 16, 3)
