"""The processes of a command, as a launcher started them. What the launcher's environment asks for beside the
configuration is refused where the two contradict each other: one of them would be ignored without a word."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

# How long a process waits for the others. PyTorch's own 10 minutes (NCCL) or 30 (gloo) are too short for what
# one process may do while the others wait: read back the checksums of tokens or of a checkpoint, write a
# checkpoint to a slow disk, open tables of millions of rows. Launchers end all processes when one ends, so a
# longer time delays only the end of a run that hangs.
PATIENCE = timedelta(hours=6)
PRECISION = "ACCELERATE_MIXED_PRECISION"
MICRO_STEPS = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
PLUGINS = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


def new_accelerator(
    mixed_precision: str,
    *,
    accumulate: int | None = None,
    tracker: str | None = None,
    out: str | Path | None = None,
    cpu: bool = False,
) -> Accelerator:
    """The accelerator of a command. accumulate: micro-steps an optimizer step, None: nothing is trained;
    tracker writes below `out`; cpu: though there were something faster.

    Several processes without a GPU are several processes of one run: Accelerate takes those of torchrun for a
    run each, which overwrite each other's files, unless it is told of the CPU. Raises ValueError where the
    launcher asked for something else."""
    refuse_contradictions(os.environ, mixed_precision, accumulate)
    return Accelerator(
        mixed_precision=mixed_precision,
        gradient_accumulation_steps=accumulate or 1,
        log_with=tracker,
        project_dir=out,
        cpu=cpu or not torch.accelerator.is_available(),
        kwargs_handlers=[
            DistributedDataParallelKwargs(broadcast_buffers=False),
            InitProcessGroupKwargs(timeout=PATIENCE),
        ],
    )


def refuse_contradictions(
    environment: Mapping[str, str], mixed_precision: str, accumulate: int | None = None
) -> None:
    """Compares the variables that `accelerate launch` sets (from its arguments or its own configuration file)
    with the keys of the same meaning. accumulate: micro-steps a step; None: no step is taken, and their
    number means nothing. Raises ValueError, saying what to set, where they differ or ask for what is not done
    here.

    `accelerate launch` says precision "no" where nobody asked for any, so that one contradicts nothing.
    """
    for variable, plugin in PLUGINS.items():
        if environment.get(variable, "false").lower() in ("true", "1", "yes", "y", "on"):
            raise ValueError(
                f"{variable} asks for {plugin}; scripts share out data among processes and nothing else: "
                "launch it without"
            )
    asked = environment.get(PRECISION, "no").lower()
    if asked not in ("no", mixed_precision):
        raise ValueError(
            f"{PRECISION}={asked} (accelerate launch --mixed_precision, or its configuration file) "
            f"contradicts mixed_precision={mixed_precision}: "
            f"set mixed_precision={asked}, or launch without it"
        )
    asked = environment.get(MICRO_STEPS, str(accumulate))
    if accumulate is not None and asked != str(accumulate):
        raise ValueError(
            f"{MICRO_STEPS}={asked} (accelerate launch --gradient_accumulation_steps, "
            "or its configuration file) contradicts "
            f"optim.accumulate={accumulate}: set optim.accumulate={asked}, or launch without it"
        )
