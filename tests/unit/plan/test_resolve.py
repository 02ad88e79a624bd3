"""Which images a run works on that names none."""

from __future__ import annotations

from typing import Any

import pytest

from edgebench.errors import ConfigError
from edgebench.plan.resolve import Layer, resolve

EDGES = {"stage": "predict", "method": "mask_edges"}
TRAINING = {"stage": "train", "method": "memo", "dataset": "laion", "split": "train", "labels": "edges", "steps": 10}


def chain(**roles: dict[str, Any]) -> list[Layer]:
    return [Layer("config/recipes/mine.yaml", roles, "recipe")]


def test_a_run_without_data_set_takes_that_of_the_run_that_uses_it() -> None:
    training = TRAINING | {"learning_rate": 1e-3, "limit": 7}
    changed = Layer("a section", {"train": {"dataset": "bsds500", "split": "val"}})
    edges: Any = resolve([*chain(edges=EDGES, train=training), changed])["edges"]
    assert (edges.dataset, edges.split, edges.limit) == ("bsds500", "val", 7)


def test_what_it_says_itself_stays() -> None:
    training = TRAINING | {"learning_rate": 1e-3, "limit": 7}
    edges: Any = resolve(chain(edges=EDGES | {"limit": 3}, train=training))["edges"]
    assert (edges.dataset, edges.split, edges.limit) == ("laion", "train", 3)
    other: Any = resolve(chain(edges=EDGES | {"dataset": "scenes"}, train=training))["edges"]
    assert (other.dataset, other.split, other.limit) == ("scenes", "train", None)


def test_users_of_different_images_are_an_error() -> None:
    first = TRAINING | {"learning_rate": 1e-3}
    with pytest.raises(ConfigError, match=r"'edges' names no data set.*\(first, second\) are of different images"):
        resolve(chain(edges=EDGES, first=first, second=first | {"dataset": "bsds500"}))


def test_nothing_is_trained_on_the_images_that_it_is_tested_on() -> None:
    training = {key: value for key, value in TRAINING.items() if key not in ("dataset", "split", "labels")}
    predict = {"stage": "predict", "method": "memo", "dataset": "bsds500", "split": "test", "weights": "train"}
    with pytest.raises(ConfigError, match=r"run 'train'.*dataset"):
        resolve(chain(train=training | {"learning_rate": 1e-3}, predict=predict))


def test_a_run_that_nobody_uses_needs_a_data_set() -> None:
    with pytest.raises(ConfigError, match=r"run 'edges'.*dataset"):
        resolve(chain(edges=EDGES))


def test_what_a_row_has_no_use_for_needs_no_data_set() -> None:
    layers = chain(edges=EDGES, train=TRAINING | {"learning_rate": 1e-3})
    assert set(resolve([*layers, Layer("a row", {"train": {"labels": None}}, "row")])) == {"train"}


def test_a_row_keeps_the_choices_that_a_scale_makes_for_the_others() -> None:
    stage1 = {"stage": "predict", "method": "trace_attention", "dataset": "scenes_coco", "pretrained": "small"}
    small = {"stage": "train", "method": "trace_backbone", "dataset": "scenes_coco", "steps": 1, "learning_rate": 1.0}
    layers = chain(small=small, stage1=stage1)
    row = Layer("a row", {"stage1": {"keep": "noisier"}}, "row")
    scale = Layer("a scale", {"stage1": {"keep": "cleaner", "interior": "lowest"}}, "scale")
    own: Any = resolve([*layers, row, scale])["stage1"]
    others: Any = resolve([*layers, scale])["stage1"]
    assert (own.keep, own.interior, others.keep) == ("noisier", "lowest", "cleaner")
    with pytest.raises(ConfigError, match="the rows would be the same"):
        resolve(
            [
                *layers,
                Layer("a row", {"small": {"steps": 5}}, "row"),
                Layer("a scale", {"small": {"steps": 2}}, "scale"),
            ]
        )
