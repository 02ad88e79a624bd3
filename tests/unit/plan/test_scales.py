"""Stand-ins of data sets: one for all splits, other splits, or one for each split."""

import pytest

from edgebench.plan.definitions import Scale

SCALE = Scale.model_validate(
    {
        "title": "a scale",
        "stand_ins": {
            "one": "scenes",
            "other": {"dataset": "scenes", "split": {"edges_train": "train"}},
            "many": {"train": {"dataset": "ecssd", "split": "train"}, "te1": {"dataset": "davis", "split": "val"}},
        },
    }
)


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        (("one", "test"), ("scenes", "test")),
        (("other", "edges_train"), ("scenes", "train")),
        (("other", "test"), ("scenes", "test")),
        (("many", "train"), ("ecssd", "train")),
        (("many", "te1"), ("davis", "val")),
        (("many", "te2"), ("many", "te2")),
        (("unknown", "test"), ("unknown", "test")),
    ],
)
def test_stand_in(asked: tuple[str, str], used: tuple[str, str]) -> None:
    assert SCALE.stand_in(*asked) == used
