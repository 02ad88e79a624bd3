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


def test_a_run_that_nobody_uses_needs_a_data_set() -> None:
    with pytest.raises(ConfigError, match=r"run 'edges'.*dataset"):
        resolve(chain(edges=EDGES))


def test_what_a_row_has_no_use_for_needs_no_data_set() -> None:
    layers = chain(edges=EDGES, train=TRAINING | {"learning_rate": 1e-3})
    assert set(resolve([*layers, Layer("a row", {"train": {"labels": None}}, "row")])) == {"train"}
