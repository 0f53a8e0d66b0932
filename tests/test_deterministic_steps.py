"""With deterministic=true no operation of a training step is one that has no deterministic form on a GPU: of
every network, on the fake one (fake_gpu.py), from the batch to the optimizer's step. Training asks for it."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from fake_gpu import watched
from fake_gpu_cases import NETWORKS, make_case
from torch._subclasses.fake_tensor import FakeTensorMode

from tempohand.training.determinism import WORKSPACE, deterministic_operations
from tempohand.training.launch import new_accelerator
from tempohand.training.learner import Learner
from tempohand.training.step_checks import StepChecks

TRAIN = Path(__file__).parents[1] / "script" / "train.py"
# Operations that raise on a GPU when only deterministic ones are allowed, by torch's own list of them
# (torch.use_deterministic_algorithms), under the names that they are dispatched by.
REFUSED = {
    *(f"{kind}_pool{axes}d_backward" for kind in ("_adaptive_avg", "adaptive_max") for axes in (2, 3)),
    *("avg_pool3d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward"),
    *("max_unpool2d", "max_unpool3d", "upsample_linear1d_backward", "upsample_trilinear3d_backward"),
    *(f"{kind}2d{aa}_backward" for kind in ("upsample_bilinear", "upsample_bicubic") for aa in ("", "_aa")),
    *(f"_upsample_{kind}2d_aa_backward" for kind in ("bilinear", "bicubic")),
    *(f"reflection_pad{axes}d_backward" for axes in (1, 2, 3)),
    *("nll_loss_forward", "nll_loss2d_forward", "_ctc_loss_backward", "put_", "histc", "bincount", "median"),
    *("grid_sampler_2d_backward", "grid_sampler_3d_backward", "cumsum", "kthvalue"),
}
# Those that take another way then, which torch has for a GPU, too (but attention: torch takes none of the
# fused kernels on the fake GPU).
OTHER_WAY = {
    *("convolution", "convolution_backward", "index_put", "index_put_", "_unsafe_index_put", "scatter_add"),
    *("scatter_add_", "gather", "index_add", "index_add_", "index_copy", "scatter", "scatter_reduce"),
    *("index_select", "replication_pad2d_backward", "_scaled_dot_product_efficient_attention_backward"),
    *("_scaled_dot_product_flash_attention_backward", "_embedding_bag_dense_backward"),
}
CONVOLUTION = {"convolution", "convolution_backward"}
# What a step has of them, besides reading by index, where that is not convolutions alone.
EXTRA = {
    "Stage 2 from pictures": {"convolution"},
    "Stage 2 from tokens": set(),
    "finder": CONVOLUTION | {"scatter_add"},
    # the gradient of a bilinear enlargement, in its deterministic form
    "finder on palms": CONVOLUTION | {"scatter_add", "_unsafe_index_put"},
    "UTNet": CONVOLUTION | {"scatter_add"},
    "UTNet with maxima": CONVOLUTION | {"scatter_add"},
    "UTNet on maps": CONVOLUTION | {"scatter_add"},
    "Hand3D with joints": CONVOLUTION | {"index_put_"},
}


@contextmanager
def operations():
    """Yields the set of what is computed on the fake GPU, by the operations' names."""
    names, compute = set(), FakeTensorMode.dispatch

    def noting(mode, function, types, args=(), kwargs=None):
        names.add(function.name().removeprefix("aten::").split(".")[0])
        return compute(mode, function, types, args, kwargs)

    with mock.patch.object(FakeTensorMode, "dispatch", noting):
        yield names


def step(kind: str, folder: Path) -> set[str]:
    """The operations of an optimizer step."""
    with watched(), operations() as names:
        network, batch, settings = make_case(kind)
        settings["out"] = str(folder)
        accelerator = new_accelerator("bf16")
        learner = Learner(network, settings["optim"] | {"ema": 0.9}, accelerator)
        checks = StepChecks(accelerator, network, settings, config={}, describe_row=str, command="")
        network.train()
        checks.begin_step(0, logged=False)
        names.clear()
        with accelerator.autocast():
            prediction = learner.model(batch)
            terms = network.criterion(prediction, batch)
        accelerator.backward(checks.loss(batch, prediction, terms))
        checks.clip_gradient(1.0)
        learner.optimizer.step()
        learner.end_step(1)
    return names


@pytest.mark.parametrize("kind", NETWORKS)
def test_no_operation_of_a_step_would_be_refused(kind, tmp_path):
    with deterministic_operations(True):
        found = step(kind, tmp_path)
    assert {"convolution_backward", "_fused_adamw_"} <= found or "Stage 2" in kind
    assert found & REFUSED == set()
    assert found & OTHER_WAY - {"index_put"} == {"gather"} | EXTRA.get(kind, CONVOLUTION)


@pytest.mark.parametrize("kind", ["UTNet", "Hand3D"])
def test_without_it_one_would(kind, tmp_path):
    """The gradient of a map that is read at places of a crop."""
    assert step(kind, tmp_path) & REFUSED == {"grid_sampler_2d_backward"}


def test_training_asks_for_it(tmp_path, monkeypatch):
    """Before anything is read: what stands against it is refused."""
    monkeypatch.setenv(WORKSPACE, ":0:0")
    words = ["--config-name=stage1-tiny", f"data.root={tmp_path / 'none'}", f"out={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, str(TRAIN), *words, "deterministic=true"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "deterministic=true needs CUBLAS_WORKSPACE_CONFIG" in done.stderr
    assert not (tmp_path / "run" / "checkpoint").exists()
