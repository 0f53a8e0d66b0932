"""Settings that come from a launcher as well as from the configuration."""

import os

import pytest
import torch
from accelerate import Accelerator
from tests_support import compose_config, new_accelerate_state

from tempohand.training import launch
from tempohand.training.launch import MICRO_STEPS, PLUGINS, PRECISION, refuse_contradictions


@pytest.mark.parametrize(
    "environment, message",
    [
        (
            {PRECISION: "fp16"},
            "ACCELERATE_MIXED_PRECISION=fp16 .* contradicts mixed_precision=bf16: set mixed_precision=fp16",
        ),
        ({PRECISION: "fp8"}, "contradicts mixed_precision=bf16"),
        (
            {MICRO_STEPS: "4"},
            "ACCUMULATION_STEPS=4 .* contradicts optim.accumulate=2: set optim.accumulate=4",
        ),
        ({MICRO_STEPS: "auto"}, "contradicts optim.accumulate=2"),
        *(
            ({variable: "true"}, f"{variable} asks for {name}.*launch it without")
            for variable, name in PLUGINS.items()
        ),
    ],
)
def test_a_contradiction_is_refused_with_what_to_set(environment, message):
    with pytest.raises(ValueError, match=message) as refusal:
        refuse_contradictions(environment, "bf16", 2)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "environment",
    [{}, {PRECISION: "no"}, {PRECISION: "bf16", MICRO_STEPS: "2"}, dict.fromkeys(PLUGINS, "false")],
)
def test_what_is_not_said_or_the_same_is_well(environment):
    refuse_contradictions(environment, "bf16", 2)


def test_evaluation_refuses_another_precision_and_takes_no_steps():
    refuse_contradictions({PRECISION: "bf16", MICRO_STEPS: "4"}, "bf16")
    with pytest.raises(ValueError, match="ACCELERATE_MIXED_PRECISION=fp16 .* contradicts mixed_precision=no"):
        refuse_contradictions({PRECISION: "fp16"}, compose_config("evaluate")["mixed_precision"])


def test_the_variables_are_those_that_accelerate_reads(monkeypatch):
    """What would happen without the refusal: the number of micro-steps comes from the environment, whatever
    the script says."""
    monkeypatch.setenv(MICRO_STEPS, "4")
    monkeypatch.setenv(PRECISION, "bf16")
    with new_accelerate_state():
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
        assert accelerator.gradient_accumulation_steps == 4 and accelerator.mixed_precision == "bf16"


def test_no_configuration_contradicts_a_launcher_that_was_asked_for_nothing():
    config = compose_config("stage1-tiny")
    refuse_contradictions(
        {**os.environ, PRECISION: "no"}, config["mixed_precision"], config["optim"]["accumulate"]
    )


@pytest.mark.parametrize("there", [False, True])
def test_processes_without_a_gpu_belong_together(monkeypatch, there):
    """Without being told of the CPU, Accelerate makes a run of each of torchrun's processes."""
    told = {}

    def fake(**settings) -> Accelerator:
        told.update(settings)
        return Accelerator.__new__(Accelerator)

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: there)
    monkeypatch.setattr(launch, "Accelerator", fake)
    launch.new_accelerator("no")
    assert told["cpu"] is not there
    launch.new_accelerator("no", cpu=True)
    assert told["cpu"]
