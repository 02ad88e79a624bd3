"""What one undisturbed call of the loop does, inside this process."""

from __future__ import annotations

import csv
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgebench.errors import ConfigError, DataError
from edgebench.training.loop import train
from edgebench.training.objective import Objective
from edgebench.training.settings import LoopSettings


class Line(Objective):
    """Fit a line; small enough to be followed by hand."""

    def __init__(self, model: nn.Module | None = None, broken: bool = False) -> None:
        torch.manual_seed(0)
        self.model = model or nn.Linear(2, 1)
        self.broken = broken
        self.seen: list[torch.dtype] = []
        self.batches: list[torch.Tensor] = []

    def __len__(self) -> int:
        return 12

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        if self.broken:
            raise DataError("image 3: truncated.")
        x = torch.tensor([index / 10, rng.random()], dtype=torch.float32)
        return {"x": x, "y": 2 * x[:1] - x[1:] + 1}

    def loss(self, model, batch: dict[str, Any], generator, step):
        self.batches.append(batch["x"])
        prediction = model(batch["x"])
        self.seen.append(prediction.dtype)
        return ((prediction - batch["y"]) ** 2).mean(), {}


def settings(**changed: Any) -> LoopSettings:
    usual: dict[str, Any] = {"steps": 6, "batch": 4, "learning_rate": 0.05, "device": "cpu"}
    return LoopSettings(**(usual | changed))


def rows(folder: Path) -> list[dict[str, float]]:
    with open(folder / "log.csv", newline="") as file:
        return [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("EDGEBENCH_QUIET", "1")


class TestAgainstPlainPyTorch:
    """The same samples through a loop written out here."""

    def plain(self, batches: list[torch.Tensor], clip: float | None = None, decay: float = 0.8):
        model = Line().model
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.01)
        norms = []
        for step, x in enumerate(batches):
            optimizer.zero_grad()
            y = 2 * x[:, :1] - x[:, 1:] + 1
            ((model(x) - y) ** 2).mean().backward()
            norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), clip or float("inf"))))
            optimizer.step()
            if step + 1 > 2:
                average.update_parameters(model)
        return model.state_dict(), average.module.state_dict(), norms

    def test_weights_norms_and_report(self, tmp_path):
        objective = Line()
        report = train(objective, settings(), tmp_path)
        weights, _, norms = self.plain(objective.batches)
        written = load_file(report.weights)
        assert written.keys() == weights.keys()
        assert all(torch.equal(written[name], weights[name]) for name in weights)
        assert [row["grad_norm"] for row in rows(tmp_path)] == norms
        assert (report.steps, report.resumed_from, report.parameters) == (6, 0, 3)
        assert report.loss == rows(tmp_path)[-1]["loss"]
        assert train(objective, settings(), tmp_path).resumed_from == 6

    def test_clipping_and_moving_average(self, tmp_path):
        objective = Line()
        train(objective, settings(gradient_clip=0.2, ema_decay=0.8, ema_start=2), tmp_path)
        live, average, norms = self.plain(objective.batches, clip=0.2)
        assert max(norms) > 0.2
        written = load_file(tmp_path / "weights.safetensors")
        for name, parameter in objective.model.state_dict().items():
            assert torch.equal(parameter, live[name])
            assert torch.equal(written[name], average[name])
            assert not torch.equal(written[name], live[name])


class TestSettings:
    def test_accumulation_equals_a_larger_batch(self, tmp_path):
        train(Line(), settings(batch=8), tmp_path / "large")
        train(Line(), settings(batch=2, accumulate=4), tmp_path / "small")
        large, small = (load_file(tmp_path / name / "weights.safetensors") for name in ("large", "small"))
        for name in large:
            torch.testing.assert_close(small[name], large[name], rtol=1e-5, atol=1e-6)
        for one, other in zip(rows(tmp_path / "large"), rows(tmp_path / "small"), strict=True):
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)

    def test_a_group_scales_the_rate_and_the_log_shows_the_schedule(self, tmp_path):
        class Scaled(Line):
            def parameter_groups(self):
                return [{"params": [self.model.weight]}, {"params": [self.model.bias], "lr_scale": 10.0}]

        objective = Scaled()
        before = {name: tensor.clone() for name, tensor in objective.model.state_dict().items()}
        scheduled = settings(steps=2, weight_decay=0.0, schedule="linear_warmup", warmup_steps=1)
        train(objective, scheduled, tmp_path)
        after = load_file(tmp_path / "weights.safetensors")
        # Adam's first steps have the size of the rate itself.
        assert (after["weight"] - before["weight"]).abs().max().item() == pytest.approx(0.1, rel=0.05)
        assert (after["bias"] - before["bias"]).abs().item() == pytest.approx(1.0, rel=0.05)
        assert [row["lr"] for row in rows(tmp_path)] == [0.05, 0.05]

    def test_the_log_averages_between_rows(self, tmp_path):
        train(Line(), settings(), tmp_path / "each")
        train(Line(), settings(log_every=4), tmp_path / "fourth")
        each, fourth = rows(tmp_path / "each"), rows(tmp_path / "fourth")
        assert [row["step"] for row in fourth] == [4, 6]
        assert fourth[0]["loss"] == pytest.approx(sum(row["loss"] for row in each[:4]) / 4)
        assert fourth[1]["grad_norm"] == pytest.approx(sum(row["grad_norm"] for row in each[4:]) / 2)

    def test_bf16_computes_in_bf16_and_keeps_weights_in_float32(self, tmp_path):
        inside: list[torch.dtype] = []
        model = nn.Sequential(nn.Linear(2, 1))
        model[0].register_forward_hook(lambda _module, _input, output: inside.append(output.dtype))
        objective = Line(model)
        train(objective, settings(precision="bf16"), tmp_path)
        assert set(inside) == {torch.bfloat16}
        assert set(objective.seen) == {torch.float32}
        assert {tensor.dtype for tensor in load_file(tmp_path / "weights.safetensors").values()} == {torch.float32}
        with torch.no_grad():
            assert objective.model(torch.ones(1, 2)).dtype == torch.float32
        assert inside[-1] == torch.float32  # the model is handed back as it came

    def test_gradient_checkpointing_is_switched_on(self, tmp_path):
        class Switched(nn.Linear):
            on = False

            def enable_gradient_checkpointing(self):
                self.on = True

        objective = Line(Switched(2, 1))
        train(objective, settings(gradient_checkpointing=True), tmp_path)
        assert objective.model.on

    def test_gradient_checkpointing_missing_is_told(self, tmp_path):
        with pytest.raises(ConfigError, match="gradient_checkpointing = True: Linear has no"):
            train(Line(), settings(gradient_checkpointing=True), tmp_path)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA GPU")
    def test_a_missing_gpu_is_told(self, tmp_path):
        with pytest.raises(ConfigError, match="device = 'cuda'"):
            train(Line(), settings(device="cuda"), tmp_path)

    def test_tensorboard_missing_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(ConfigError, match="tensorboard = True"):
            train(Line(), settings(tensorboard=True), tmp_path)

    def test_tensorboard_gets_the_rows_of_the_log(self, tmp_path, monkeypatch):
        written, closed = [], []

        class Writer:
            def __init__(self, folder, purge_step):
                assert (folder, purge_step) == (str(tmp_path / "tensorboard"), 1)

            def add_scalar(self, name, value, step):
                written.append((name, value, step))

            def close(self):
                closed.append(True)

        module = types.SimpleNamespace(SummaryWriter=Writer)
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
        train(Line(), settings(tensorboard=True, log_every=3), tmp_path)
        assert [value for name, value, _ in written if name == "loss"] == [row["loss"] for row in rows(tmp_path)]
        assert [step for name, _, step in written if name == "loss"] == [3, 6]
        assert closed

    def test_the_state_of_pytorch_is_restored(self, tmp_path):
        train(Line(), settings(), tmp_path)
        assert not torch.are_deterministic_algorithms_enabled()


class TestObjective:
    def test_export_is_the_objectives_choice(self, tmp_path):
        class Exporting(Line):
            def exported(self, state):
                # Two names for one tensor and a view of it, as with tied weights.
                return {"w": state["weight"], "again": state["weight"], "turned": state["weight"].T}

            def export_metadata(self):
                return {"method": "line", "width": "2"}

        train(Exporting(), settings(ema_decay=0.5), tmp_path)
        with safe_open(tmp_path / "weights.safetensors", "pt") as file:
            assert file.metadata() == {"method": "line", "width": "2"}
            assert sorted(file.keys()) == ["again", "turned", "w"]
            assert torch.equal(file.get_tensor("w"), file.get_tensor("turned").T)

    def test_tied_weights_are_averaged_under_both_names(self, tmp_path):
        class Tied(nn.Module):
            def __init__(self):
                super().__init__()
                self.one = nn.Linear(2, 1)
                self.two = nn.Linear(2, 1)
                self.two.weight = self.one.weight

            def forward(self, x):
                return self.one(x) + self.two(x)

        train(Line(Tied()), settings(ema_decay=0.9), tmp_path)
        written = load_file(tmp_path / "weights.safetensors")
        assert torch.equal(written["one.weight"], written["two.weight"])

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_bad_image_stops_it_with_the_readers_words(self, tmp_path, workers):
        with pytest.raises(DataError) as caught:
            train(Line(broken=True), settings(workers=workers), tmp_path)
        assert str(caught.value) == "image 3: truncated."

    def test_no_samples_are_told(self, tmp_path):
        class Empty(Line):
            def __len__(self):
                return 0

        with pytest.raises(DataError, match="no sample"):
            train(Empty(), settings(), tmp_path)

    def test_a_frozen_tensor_in_a_group_is_a_mistake(self, tmp_path):
        class Wrong(Line):
            def parameter_groups(self):
                return [{"params": [self.model.weight.requires_grad_(False)]}]

        with pytest.raises(ValueError, match="not a trainable parameter"):
            train(Wrong(), settings(), tmp_path)

    def test_a_checkpoint_of_another_model_is_refused(self, tmp_path):
        class Dying(Line):
            def loss(self, model, batch, generator, step):
                if step == 3:
                    raise KeyboardInterrupt
                return super().loss(model, batch, generator, step)

        with pytest.raises(KeyboardInterrupt):
            train(Dying(), settings(checkpoint_steps=2), tmp_path)
        with pytest.raises(DataError, match=r"step-000000002\.safetensors: bias has shape \(1,\), the model None"):
            train(Line(nn.Linear(2, 1, bias=False)), settings(checkpoint_steps=2), tmp_path)
        assert train(Line(), settings(checkpoint_steps=2), tmp_path).resumed_from == 2


class TestDisplay:
    def test_a_log_gets_a_line_now_and_then(self, tmp_path, monkeypatch, capsys):
        monkeypatch.delenv("EDGEBENCH_QUIET")
        monkeypatch.setattr("edgebench.progress.LOG_EVERY_SECONDS", 0.0)
        train(Line(), settings(steps=2), tmp_path, "pretrain memo")
        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith("pretrain memo: 1 of 2, loss ")
        assert second.endswith("about 0 s left")

    def test_nothing_within_half_a_minute(self, tmp_path, monkeypatch, capsys):
        monkeypatch.delenv("EDGEBENCH_QUIET")
        train(Line(), settings(), tmp_path)
        assert capsys.readouterr().err == ""

    def test_a_terminal_gets_a_bar(self, tmp_path, monkeypatch, capsys):
        monkeypatch.delenv("EDGEBENCH_QUIET")
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("FORCE_COLOR", "1")
        train(Line(), settings(), tmp_path, "pretrain memo")
        said = capsys.readouterr().err
        assert "pretrain memo" in said
        assert "6/6" in said
