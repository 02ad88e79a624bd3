"""From classes and edges to segments, on drawings whose segments are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgebench.errors import ConfigError
from edgebench.methods.trace.panoptic import PanopticSettings, segment_classes
from edgebench.metrics.panoptic import count_segments, panoptic_quality

CUP, PLATE, TABLE, WALL = 1, 2, 7, 9
THINGS, STUFF = {CUP, PLATE}, {TABLE, WALL}
FINE = PanopticSettings(stride=1, steps=64)


def scene() -> tuple[np.ndarray, dict[int, int]]:
    """Two cups side by side, a plate, and two kinds of ground: ids (48, 64) and the class of each."""
    ids = np.full((48, 64), 4)
    ids[24:] = 5
    ids[8:32, 8:20], ids[8:32, 20:36] = 1, 2
    ids[30:44, 44:60] = 3
    return ids, {1: CUP, 2: CUP, 3: PLATE, 4: WALL, 5: TABLE}


def classes_of(ids: np.ndarray, classes: dict[int, int]) -> np.ndarray:
    return np.vectorize(lambda each: classes.get(each, 0))(ids)


def borders(ids: np.ndarray) -> np.ndarray:
    """1.0 on both sides of every border between ids."""
    edges = np.zeros(ids.shape)
    for these, those in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = ids[these] != ids[those]
        edges[these] = np.maximum(edges[these], differs)
        edges[those] = np.maximum(edges[those], differs)
    return edges


def quality(found: Any, ids: np.ndarray, classes: dict[int, int]) -> dict[str, Any]:
    predicted = dict(enumerate(found.classes, start=1))
    return panoptic_quality(count_segments(found.ids, ids, predicted, classes), THINGS)


@pytest.mark.parametrize("confine", ["class", "image"])
def test_true_classes_and_true_borders_give_the_true_segments(confine: Any) -> None:
    ids, classes = scene()
    settings = PanopticSettings(stride=1, steps=64, confine=confine)
    found = segment_classes(classes_of(ids, classes), borders(ids), THINGS, STUFF, settings)
    assert found.classes == [CUP, CUP, PLATE, TABLE, WALL]
    assert found.ids.dtype == np.uint32
    scores = quality(found, ids, classes)
    assert scores["all"]["pq"] == 1.0
    assert (scores["things"]["n"], scores["stuff"]["n"]) == (2, 2)


def test_a_coarse_grid_finds_the_same_objects() -> None:
    ids, classes = scene()
    found = segment_classes(classes_of(ids, classes), borders(ids), THINGS, STUFF)
    assert quality(found, ids, classes)["things"]["rq"] == 1.0


def test_without_edges_touching_objects_of_a_class_stay_one() -> None:
    ids, classes = scene()
    found = segment_classes(classes_of(ids, classes), None, THINGS, STUFF)
    assert found.classes == [CUP, PLATE, TABLE, WALL]
    np.testing.assert_array_equal(found.ids == 1, ids < 3)
    scores = quality(found, ids, classes)
    assert scores["per_class"][CUP]["rq"] == pytest.approx(2 / 3)  # the union still covers more than half of one
    assert scores["stuff"]["pq"] == 1.0


def test_stuff_is_one_segment_however_many_parts_it_has() -> None:
    semantic = np.full((40, 40), TABLE)
    semantic[:, 18:22] = CUP
    found = segment_classes(semantic, None, THINGS, STUFF)
    assert found.classes == [CUP, TABLE]
    assert set(np.unique(found.ids[semantic == TABLE])) == {2}


def test_every_pixel_keeps_its_class_and_none_is_lost() -> None:
    rng = np.random.default_rng(0)
    ids, classes = scene()
    semantic = classes_of(ids, classes)
    semantic[rng.random(semantic.shape) < 0.1] = CUP
    semantic[:4, :4] = 0
    edges = rng.random(semantic.shape) * 0.7
    found = segment_classes(semantic, edges, THINGS, STUFF, FINE)
    of_class = np.array([0, *found.classes])[found.ids]
    np.testing.assert_array_equal(of_class, semantic)
    assert sorted(set(np.unique(found.ids)) - {0}) == list(range(1, len(found.classes) + 1))


def test_what_no_segment_reaches_goes_to_the_nearest_or_to_none() -> None:
    semantic = np.full((60, 60), WALL)
    semantic[10:40, 5:25] = CUP
    semantic[10, 40] = CUP  # a part below a thousandth of the image
    near = segment_classes(semantic, np.zeros(semantic.shape), THINGS, STUFF, FINE)
    assert near.classes == [CUP, WALL]
    assert near.ids[10, 40] == near.ids[20, 20] == 1
    void = segment_classes(semantic, None, THINGS, STUFF, PanopticSettings(leftover="void"))
    assert void.ids[10, 40] == 0
    np.testing.assert_array_equal(void.ids == 1, near.ids == np.where(semantic[10, 40], 1, 0) * (np.arange(60) < 40))


def test_a_class_of_small_parts_alone_is_one_segment() -> None:
    semantic = np.full((60, 60), WALL)
    semantic[10, 10] = semantic[50, 50] = PLATE
    for edges in (None, np.ones(semantic.shape)):
        found = segment_classes(semantic, edges, THINGS, STUFF, FINE)
        assert found.classes == [PLATE, WALL]
        assert found.ids[10, 10] == found.ids[50, 50] == 1


def test_parts_that_the_walk_joins_again_are_one_segment() -> None:
    semantic = np.full((40, 40), WALL)
    semantic[8:32, 8:32] = CUP
    faint = np.zeros(semantic.shape)
    faint[8:32, 20] = 0.55  # cuts the mask, but holds the walk only little at a small exponent
    joined = PanopticSettings(stride=1, beta=0.5, steps=256)
    assert segment_classes(semantic, faint, THINGS, STUFF, joined).classes == [CUP, WALL]
    strong = np.where(faint > 0, 1.0, 0.0)
    assert segment_classes(semantic, strong, THINGS, STUFF, joined).classes == [CUP, CUP, WALL]


def test_void_belongs_to_nothing() -> None:
    semantic = np.full((40, 40), 255)
    assert segment_classes(semantic, np.zeros((40, 40)), THINGS, STUFF).classes == []
    semantic[10:30, 10:30] = CUP
    for confine in ("class", "image"):
        found = segment_classes(
            semantic, np.zeros((40, 40)), THINGS, STUFF, PanopticSettings(stride=1, confine=confine)
        )
        assert found.classes == [CUP]
        np.testing.assert_array_equal(found.ids > 0, semantic == CUP)


def test_unconfined_segments_take_what_their_walk_wins() -> None:
    ids, classes = scene()
    semantic = classes_of(ids, classes)
    semantic[12:28, 12:14] = WALL  # a hole in the class map, inside the edges of a cup
    kept = segment_classes(semantic, borders(ids), THINGS, STUFF, FINE)
    assert kept.classes[kept.ids[20, 12] - 1] == WALL
    wide = PanopticSettings(stride=1, steps=64, confine="image")
    taken = segment_classes(semantic, borders(ids), THINGS, STUFF, wide)
    assert taken.classes[taken.ids[20, 12] - 1] == CUP


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(ConfigError, match="confine 'x' is unknown"):
        PanopticSettings(confine="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="leftover 'x' is unknown"):
        PanopticSettings(leftover="x")  # type: ignore[arg-type]
