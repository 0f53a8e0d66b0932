"""Deterministic training: what is asked of torch, for how long, and what stands against it."""

import os

import pytest
import torch

from tempohand.training.determinism import WORKSPACE, deterministic_operations


def asked() -> tuple:
    """All that the settings of this kind are."""
    cudnn = torch.backends.cudnn
    mode = torch.get_deterministic_debug_mode()
    return mode, cudnn.deterministic, cudnn.benchmark, os.environ.get(WORKSPACE)


@pytest.fixture(params=[(0, False, True, None), (1, True, False, ":16:8")])
def before(request, monkeypatch):
    """Settings as another program may have them."""
    mode, deterministic, benchmark, workspace = request.param
    kept = torch.get_deterministic_debug_mode()
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", deterministic)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", benchmark)
    monkeypatch.delenv(WORKSPACE, raising=False)
    if workspace:
        monkeypatch.setenv(WORKSPACE, workspace)
    torch.set_deterministic_debug_mode(mode)
    yield request.param
    torch.set_deterministic_debug_mode(kept)


def test_all_is_asked_for_while_it_lasts(before):
    with deterministic_operations(True):
        assert asked() == (2, True, False, before[3] or ":4096:8")
        with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
            torch.zeros(3).put_(torch.tensor([0, 0]), torch.ones(2))
    assert asked() == before


def test_it_ends_with_an_error_too(before):
    with pytest.raises(KeyError), deterministic_operations(True):
        raise KeyError
    assert asked() == before


def test_what_is_not_asked_for_changes_nothing(before):
    with deterministic_operations(False):
        assert asked() == before
    assert asked() == before


def test_an_environment_that_says_otherwise_is_refused(monkeypatch):
    monkeypatch.setenv(WORKSPACE, ":0:0")
    now = asked()
    message = "needs CUBLAS_WORKSPACE_CONFIG=:4096:8 or :16:8.* has ':0:0'"
    with pytest.raises(ValueError, match=message), deterministic_operations(True):
        pytest.fail("it was entered")
    assert asked() == now
