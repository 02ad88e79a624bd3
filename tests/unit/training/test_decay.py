from __future__ import annotations

import pytest

from edgebench.training.decay import compounding_decay, nominal_decay


def test_compounding_falls_ever_faster():
    values = [compounding_decay(step, 180, 90) for step in range(180)]
    assert values[:60] == [1.0] * 60
    assert values[60] == values[61] == 0.95
    assert values[120] / values[118] == pytest.approx(0.95**2)
    assert values[179] == pytest.approx(0.0099, abs=1e-4)


def test_nominal_falls_every_thirty_epochs():
    values = [nominal_decay(step, 100, 100) for step in range(100)]
    assert sorted(set(values), reverse=True) == [1.0, 0.95, 0.95**2, 0.95**3]
    assert [values.index(value) for value in (1.0, 0.95, 0.95**2, 0.95**3)] == [0, 30, 60, 90]


def test_a_short_training_keeps_the_form():
    assert [compounding_decay(step, 3, 90) for step in range(3)] == [
        compounding_decay(30 * e, 90, 90) for e in range(3)
    ]
