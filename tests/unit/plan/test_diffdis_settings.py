"""The settings describe what the method can do, under the same names and with the same defaults."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from pydantic import ValidationError

from edgebench.methods.diffdis.objective import ObjectiveSettings
from edgebench.methods.diffdis.predictor import PredictSettings
from edgebench.methods.diffdis.presets import PRESETS, NetworkConfig
from edgebench.plan.methods.diffdis import DiffdisPredict, DiffdisTrain

TRAIN: dict[str, Any] = {
    "stage": "train",
    "method": "diffdis",
    "dataset": "dis5k",
    "steps": 10,
    "learning_rate": 3e-5,
}


@pytest.mark.parametrize(
    ("settings", "described"), [(ObjectiveSettings, DiffdisTrain), (PredictSettings, DiffdisPredict)]
)
def test_defaults_agree(settings: type, described: Any) -> None:
    for field in fields(settings):
        assert described.model_fields[field.name].default == field.default, field.name


def test_switches_of_the_network_agree() -> None:
    for name in ("edge", "stream_embedding", "interaction", "injection"):
        assert DiffdisTrain.model_fields[name].default == getattr(NetworkConfig(), name)
    for preset in PRESETS:
        assert DiffdisTrain(**{**TRAIN, "preset": preset}).preset == preset


def test_one_stream_has_nothing_to_tell_apart() -> None:
    with pytest.raises(ValidationError, match="one stream"):
        DiffdisTrain(**TRAIN, edge=False)
    plain = DiffdisTrain(**TRAIN, edge=False, stream_embedding=False, interaction="none", injection=False)
    assert plain.words() == ["full", "10steps"]
    assert DiffdisTrain(**TRAIN).words() == ["full", "edge", "mutual", "injection", "10steps"]


def test_labels_name_the_runs_that_are_averaged() -> None:
    common = {"stage": "predict", "method": "diffdis", "dataset": "dis5k", "weights": "train"}
    assert DiffdisPredict(**common).words() == ["tta-none"]  # type: ignore[arg-type]
    assert DiffdisPredict(**common, tta="official", steps=10).words() == ["tta-official", "ddpm10"]  # type: ignore[arg-type]
