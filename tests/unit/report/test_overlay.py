"""Objects coloured over a photograph."""

import numpy as np

from edgebench.report.overlay import coloured


def test_the_smallest_lies_on_top_in_the_colour_of_its_place() -> None:
    image = np.full((40, 40, 3), 100, dtype=np.uint8)
    small, large = np.zeros((2, 40, 40), dtype=bool)
    small[15:25, 15:25], large[5:35, 5:35] = True, True
    one, other = coloured(image, [large, small]), coloured(image, [small, large])
    assert (one[0, 0] == 100).all()
    assert (one[20, 20] != one[10, 10]).any()
    assert (other[20, 20] == one[10, 10]).all()
    assert (other[10, 10] == one[20, 20]).all()
    for place, inside in ((5, 10), (15, 20)):
        assert (one[place, 15:25] == one[place, 15]).all()
        assert one[place, 15].max() < one[inside, inside].max()
    np.testing.assert_array_equal(coloured(image, []), image)


def test_the_border_of_the_image_is_no_outline() -> None:
    image, mask = np.full((9, 9, 3), 100, dtype=np.uint8), np.zeros((9, 9), dtype=bool)
    mask[:, :4] = True
    shown = coloured(image, [mask])
    assert (shown[:, :3] == shown[0, 0]).all()
    assert (shown[:, 3] != shown[0, 0]).any(axis=1).all()
