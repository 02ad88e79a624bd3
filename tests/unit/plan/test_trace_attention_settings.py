"""The settings of TRACE's first stage agree with what the method does, and refuse what it cannot do."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from pydantic import ValidationError

from edgebench.methods.trace.extract import ExtractSettings
from edgebench.plan.methods.trace_attention import TraceAttentionPredict
from edgebench.plan.settings import checkpoint_fields, role_fields

COMMON: dict[str, Any] = {"stage": "predict", "method": "trace_attention", "dataset": "coco", "backbone": "sd15"}


def made(**changes: Any) -> TraceAttentionPredict:
    return TraceAttentionPredict(**COMMON | changes)


def test_defaults_agree() -> None:
    for field in fields(ExtractSettings):
        assert TraceAttentionPredict.model_fields[field.name].default == field.default, field.name
    assert made().split == "train"


def test_a_network_is_named() -> None:
    assert checkpoint_fields(TraceAttentionPredict) == {"backbone"}
    assert role_fields(TraceAttentionPredict) == {"pretrained"}
    with pytest.raises(ValidationError, match="name a 'backbone'"):
        made(backbone=None)
    assert made(backbone=None, pretrained="pretrain").words() == ["small", "noisier"]


def test_what_does_not_count() -> None:
    assert made(pretrained="pretrain").idle() == {"pretrained", "lowest"}
    assert made(backbone=None, pretrained="pretrain").idle() == {"size", "precision", "reads", "layers", "lowest"}
    single = made(tau=99, interior="lowest", measure="jsd")
    assert single.idle() == {"pretrained", "taus", "tau_max", "keep", "watched", "guard_below", "guard_lowest"}
    assert single.words() == ["sd15", "tau99", "jsd", "lowest"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"taus": [99, 0]}, "do not ascend"),
        ({"taus": [0, 1000]}, "999"),
        ({"taus": [0, 99], "tau_max": 50}, "1 levels up to tau_max 50"),
        ({"blocks": []}, "blocks names none"),
        ({"lowest": 0}, "greater than 0"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        made(**changes)
    if "taus" in changes and changes["taus"] == [0, 99]:
        assert made(**changes, tau=3).tau == 3
