import pytest
import torch
from tests_support import small_finder, small_network

from tempohand.model.backbone import Backbone
from tempohand.model.registry import build_network
from tempohand.training.optim import parameter_groups, warmup_cosine


def test_every_trainable_parameter_is_in_one_group():
    for settings in (small_network(1), small_network(2), small_finder()):
        net = build_network(settings)
        groups = parameter_groups(net, 1e-3, 1e-4, 0.1)
        grouped = [id(p) for group in groups for p in group["params"]]
        assert sorted(grouped) == sorted(id(p) for p in net.parameters() if p.requires_grad)
        backbone = {id(p) for part in net.modules() if isinstance(part, Backbone) for p in part.parameters()}
        for group in groups:
            assert {id(p) in backbone for p in group["params"]} == {group["lr"] == 1e-4}
            assert all((p.ndim >= 2) == (group["weight_decay"] == 0.1) for p in group["params"])


def test_a_frozen_network_is_refused():
    net = build_network(small_network(1)).requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameter"):
        parameter_groups(net, 1e-3, 1e-4, 0.1)


def test_schedule_warms_up_and_ends_at_zero():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule, rates = warmup_cosine(optimizer, 10, 100), []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.2) and max(rates) == rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0) and optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)
