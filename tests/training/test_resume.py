import pytest
import torch
from tests_support import compose_config

from tempohand.model.registry import network_class
from tempohand.training.checkpoint import save_step
from tempohand.training.resume import (
    binding_settings,
    refuse_other_frozen_weights,
    refuse_other_run,
    resume_point,
)


@pytest.mark.parametrize(
    "free",
    [
        "out=x",
        "optim.steps=9",
        "log.every=3",
        "data.root=moved",
        "data.workers=7",
        "tracker=null",
        "tokens.folder=x",
    ],
)
def test_what_may_change(free):
    first, second = (binding_settings(compose_config("stage2-tiny", *more), "abc") for more in ([], [free]))
    refuse_other_run(first, second, "run")


@pytest.mark.parametrize(
    "name, key",
    [("stage1-tiny", "network.spatial.backbone.weights"), ("find-tiny", "network.backbone.weights")],
)
def test_the_file_of_the_first_weights_may_be_left_out(name, key):
    """A resumed run has its weights from the checkpoint, whatever network it trains; so has one whose
    settings still name the file."""
    with_file = compose_config(name, f"{key}=first.safetensors")
    files = network_class(with_file["network"]).weight_files
    before, now = (
        binding_settings(with_file, "abc", files),
        binding_settings(compose_config(name), "abc", files),
    )
    refuse_other_run(before, now, "run", files)
    refuse_other_run(before | {key: "first.safetensors"}, now, "run", files)
    with pytest.raises(ValueError, match="network.size was .* and is 32"):
        refuse_other_run(before, binding_settings(compose_config(name, "network.size=32"), "abc"), "run")


@pytest.mark.parametrize(
    "key, value",
    [
        ("optim.batch_size", "96"),
        ("optim.lr", "0.5"),
        ("loss.joints", "7"),
        ("seed", "5"),
        ("mixed_precision", "fp16"),
        ("network.temporal.width", "32"),
        ("view.augmentation.roll", "1"),
        ("sampling.drop", "0.5"),
        ("+network.spatial.backbone.options.act", "gelu"),
    ],
)
def test_what_may_not_change_is_named(key, value):
    first, second = (
        binding_settings(compose_config("stage2-tiny", *more), "abc") for more in ([], [f"{key}={value}"])
    )
    with pytest.raises(
        ValueError,
        match=f"'run' is of a run with other settings: {key.removeprefix('+')} was .* and is {value}",
    ) as error:
        refuse_other_run(first, second, "run")
    assert str(error.value).count(" was ") == 1


def test_other_data_are_named():
    settings = compose_config("stage1-tiny")
    with pytest.raises(ValueError, match=r"data \(its fingerprint\) was abc and is abd"):
        refuse_other_run(binding_settings(settings, "abc"), binding_settings(settings, "abd"), "run")


def test_a_run_is_not_begun_over_another(tmp_path):
    for resume in (None, "auto"):
        assert resume_point(resume, tmp_path, print) is None
    assert resume_point("there", tmp_path, print).name == "there"
    save_step(tmp_path, 3, {"a": torch.zeros(1)}, {}, {}, 1)
    assert resume_point("auto", tmp_path, print).name == "step-00000003"
    with pytest.raises(ValueError, match="holds a run with checkpoints: resume=auto continues it"):
        resume_point(None, tmp_path, print)


def test_other_frozen_weights_are_refused():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2).requires_grad_(False), torch.nn.Linear(2, 2))
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weights["1.weight"] += 1
    refuse_other_frozen_weights(network, weights, "stage1")
    weights["0.weight"][0, 0] += 1
    with pytest.raises(
        ValueError,
        match=r"begun from other weights than init_from='stage1' has now \(1 differ, first '0.weight'\)",
    ):
        refuse_other_frozen_weights(network, weights, "stage1")
