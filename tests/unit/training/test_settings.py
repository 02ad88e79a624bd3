from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest

from edgebench.errors import ConfigError
from edgebench.training.settings import LoopSettings


def settings(**changed) -> LoopSettings:
    return LoopSettings(**{"steps": 10, "batch": 2, "learning_rate": 0.1} | changed)


class TestLoopSettings:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("steps", 0),
            ("batch", 0),
            ("accumulate", 0),
            ("learning_rate", 0.0),
            ("learning_rate", float("nan")),
            ("weight_decay", -1.0),
            ("schedule", "cosin"),
            ("gradient_clip", 0.0),
            ("precision", "fp16"),
            ("ema_decay", 1.0),
            ("ema_start", 10),
            ("seed", -1),
            ("device", "gpu"),
            ("workers", -1),
            ("checkpoint_minutes", 0),
            ("checkpoint_steps", 0),
            ("time_limit_minutes", 0),
            ("warmup_steps", 3),
            ("epochs", 0),
        ],
    )
    def test_a_wrong_value_is_named(self, key, value):
        with pytest.raises(ConfigError, match=f"{key} = "):
            settings(**{key: value})

    def test_identity_leaves_out_what_changes_no_result(self):
        other = {"workers": 4, "checkpoint_minutes": 1, "checkpoint_steps": 5, "time_limit_minutes": 9}
        assert settings(**other).identity() == settings().identity()
        assert settings(seed=1).identity() != settings().identity()

    @pytest.mark.parametrize("schedule", ["compounding_decay", "nominal_decay"])
    def test_a_decay_counts_epochs(self, schedule):
        with pytest.raises(ConfigError, match=f"epochs = None: is needed by schedule {schedule}"):
            settings(schedule=schedule)

    def test_epochs_belong_to_the_decays_alone(self):
        assert settings(epochs=3).identity() == settings().identity()
        assert "epochs" not in settings().identity()  # so that what was begun before can be resumed
        assert settings(schedule="nominal_decay", epochs=3).identity()["epochs"] == 3

    def test_imports_no_torch(self):
        code = "import sys, edgebench.training.settings; assert not {'torch', 'numpy'} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


class TestMultiplier:
    def test_constant(self):
        assert [settings().multiplier(step) for step in range(10)] == [1.0] * 10

    def test_linear_warmup(self):
        warm = settings(schedule="linear_warmup", warmup_steps=4)
        assert [warm.multiplier(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]

    def test_exponential_falls_by_one_factor_to_a_hundredth(self):
        falling = settings(schedule="exponential", warmup_steps=2)
        values = [falling.multiplier(step) for step in range(11)]
        assert values[:3] == [0.5, 1.0, 1.0]
        ratios = [after / before for before, after in pairwise(values[2:])]
        assert ratios == pytest.approx([0.01 ** (1 / 8)] * 8)
        assert values[10] == pytest.approx(0.01)

    def test_cosine_falls_to_nothing(self):
        falling = settings(schedule="cosine", warmup_steps=2)
        values = [falling.multiplier(step) for step in range(10)]
        assert values[:3] == [0.5, 1.0, 1.0]
        assert values[6] == pytest.approx(0.5)
        assert values[2:] == sorted(values[2:], reverse=True)
        assert 0 < values[9] < 0.05

    @pytest.mark.parametrize("schedule", ["compounding_decay", "nominal_decay"])
    def test_decays_may_rise_first(self, schedule):
        plain = settings(steps=90, schedule=schedule, epochs=90)
        warm = settings(steps=90, schedule=schedule, epochs=90, warmup_steps=4)
        assert [warm.multiplier(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
        assert [warm.multiplier(step) for step in range(4, 90)] == [plain.multiplier(step) for step in range(4, 90)]
        assert plain.multiplier(0) == 1.0 > plain.multiplier(89)
