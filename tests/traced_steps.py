"""What torch.compile's tracing (dynamo) makes of training steps on a fake GPU, as JSON:

    python tests/traced_steps.py OUT.json [NETWORK ...]

The network is compiled as `accelerate launch --dynamo_backend=...` has Accelerate compile it (its forward, as
the loop calls it, after the step's checks have put their hooks in), and its criterion besides. Of each: the
graphs, why there is more than one, and what in them lies on the CPU. A process of its own: the checks of
shape annotations that tests run with are no part of what is compiled.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import torch
from fake_gpu import DEVICE, MODE, present, put, watched
from fake_gpu_cases import NETWORKS, make_case
from torch import Tensor, fx
from torch._dynamo.utils import counters
from torch.utils._pytree import tree_leaves

from tempohand.batch import ClipBatch
from tempohand.model.hand3d_maps import SeenJoints
from tempohand.training.launch import new_accelerator
from tempohand.training.learner import Learner
from tempohand.training.step_checks import StepChecks

COMPILE = torch.compile
SPOILT = "spoilt"  # in a network's place: what must be found
# What tracing asks a GPU's runtime for besides: the state of its random numbers, and its streams.
RANDOM = {"get_rng_state": lambda device=None: None, "set_rng_state": lambda state, device=None: None}
NO_STREAMS = {"is_available": lambda: False}


class Traced:
    """A backend that keeps the graphs that it is given, and runs them as they are."""

    def __init__(self):
        self.graphs: list[fx.GraphModule] = []

    def __call__(self, graph: fx.GraphModule, inputs: list) -> object:
        self.graphs.append(graph)
        return graph.forward

    def report(self) -> dict:
        """Since the last call."""
        found = {
            "graphs": len(self.graphs),
            "operations": sum(
                node.op.startswith("call") for each in self.graphs for node in each.graph.nodes
            ),
            "breaks": sorted(" ".join(reason.split())[:400] for reason in counters["graph_break"]),
            "on the CPU": [line for each in self.graphs for line in on_the_cpu(each)],
        }
        self.graphs = []
        counters.clear()
        return found


def on_the_cpu(graph: fx.GraphModule) -> list[str]:
    """Operations of a graph that make, take or give a tensor of the CPU."""
    found = []
    for node in graph.graph.nodes:
        values = tree_leaves(node.meta.get("example_value"))
        values += [graph.get_parameter(node.target)] if node.op == "get_attr" else []
        places = [value.device for value in values if isinstance(value, Tensor)]
        places += [torch.device(place) for place in tree_leaves((node.args, node.kwargs)) if _is_place(place)]
        if any(place.type != DEVICE.type for place in places):
            found.append(f"{node.op} {node.target} {node.name}")
    return found


def _is_place(value: object) -> bool:
    by_name = isinstance(value, str) and value.split(":")[0] in ("cpu", DEVICE.type)
    return by_name or isinstance(value, torch.device)


def seen(joints: SeenJoints, batch: ClipBatch) -> Tensor:
    """SeenJoints._found of a frozen network, whose turned crops nothing without values can tell."""
    return batch.labels.joints2d[:, 0]


@contextmanager
def on_the_gpu() -> Iterator[None]:
    """What is compiled inside is called with tensors of the fake GPU."""
    with (
        present(),
        mock.patch.multiple(torch.cuda, **RANDOM),
        mock.patch.multiple(torch.accelerator, **NO_STREAMS),
        MODE,
    ):
        yield


def traced_step(kind: str, precision: str, folder: str) -> dict:
    """Forward and criterion of one step: {part: Traced.report}."""
    torch._dynamo.reset()
    counters.clear()
    traced = Traced()

    def by_us(what: object, **options) -> object:
        """torch.compile, by another backend than the one that is asked for."""
        return COMPILE(what, **options | {"backend": traced})

    asked = mock.patch.dict(os.environ, ACCELERATE_DYNAMO_BACKEND="eager")
    without_values = mock.patch.object(SeenJoints, "_found", torch.compiler.disable(seen))
    with asked, without_values, mock.patch.object(torch, "compile", by_us):
        with watched():
            network, batch, settings = make_case(kind)
            settings["out"] = folder
            accelerator = new_accelerator(precision)
            learner = Learner(network, settings["optim"], accelerator)
            checks = StepChecks(accelerator, network, settings, config={}, describe_row=str, command="")
            network.train()
            checks.begin_step(0, logged=False)
        with on_the_gpu(), accelerator.autocast():
            prediction = learner.model(batch)
            found = {"forward": traced.report()}
            by_us(network.criterion)(prediction, batch)
            found["criterion"] = traced.report()
    return found


def traced_spoilt() -> dict:
    """Of small functions that are whole, cut, or have a tensor of the CPU in them."""
    kept, traced, found = torch.ones(3), Traced(), {}

    def cut(x: Tensor) -> Tensor:
        y = x * 2
        return y + 1 if y.sum().item() > 0 else y

    functions = {
        "whole": lambda x: x * 2 + 1,
        "cut": cut,
        "made": lambda x: (x, torch.zeros(3)),
        "moved": lambda x: (x * 2).to("cpu"),
        "kept": lambda x: (x, kept * 2),
    }
    with watched():
        x = put(torch.ones(3))
    for name, function in functions.items():
        torch._dynamo.reset()
        with on_the_gpu(), mock.patch.object(Tensor, "item", lambda tensor: 1.0):
            COMPILE(function, backend=traced)(x)
        found[name] = traced.report()
    return found


def main() -> None:
    """Writes the report of the networks that are named, or of all."""
    out, *kinds = sys.argv[1:]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds or NETWORKS:
            found[kind] = traced_spoilt() if kind == SPOILT else traced_step(kind, "bf16", folder)
            Path(out).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
