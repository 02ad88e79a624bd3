from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgebench.training.ema import Ema


class TestEma:
    def test_equals_averaged_model_from_the_start_step_on(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
        ours = Ema(dict(model.named_parameters()), decay=0.9, start=4)
        theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        for step in range(1, 12):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter))
            ours.update(step)
            if step > 4:
                theirs.update_parameters(model)
        for name, parameter in theirs.module.named_parameters():
            assert torch.equal(ours.average[name], parameter)

    def test_follows_its_formula_and_leaves_the_live_weights_alone(self):
        live = nn.Parameter(torch.tensor([1.0]))
        ema = Ema({"w": live}, decay=0.75, start=0)
        ema.update(1)
        with torch.no_grad():
            live.fill_(3.0)
        assert ema.average["w"].item() == 1.0
        ema.update(2)
        assert ema.average["w"].item() == 0.75 * 1 + 0.25 * 3
        assert live.item() == 3.0

    def test_is_empty_before_it_starts(self):
        ema = Ema({"w": nn.Parameter(torch.ones(1))}, decay=0.9, start=2)
        ema.update(2)
        assert ema.average == {}
