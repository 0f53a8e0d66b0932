"""Checks of a few training steps on copies of the network: who learns, who must not, and whether two
processes learn what one does."""

from collections.abc import Callable

import torch
from torch import Tensor

from tempohand.batch import ClipBatch
from tempohand.data.loader import Sample, collate
from tempohand.doctor.result import Result
from tempohand.model.batchnorm import sharing_effects
from tempohand.model.network import Network
from tempohand.training.objective import combine
from tempohand.training.optim import parameter_groups

STEPS = 3  # gates that start at zero let gradients through to what is behind them after the first
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3  # relative: float32 sums in another order


def check_gradients(
    network: Network, batches: list[ClipBatch], weights: dict[str, float], lr: float
) -> list[Result]:
    """Whether, in a few optimizer steps of `network` (a copy to spoil, in training mode), every trainable
    parameter gets a gradient (but those that no batch teaches anything, `Network.idle`), and nothing frozen
    gets one or changes."""
    frozen = _frozen(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items() if name in frozen}
    reached, leaking = set(), set()
    optimizer = torch.optim.AdamW(parameter_groups(network, lr, lr, 0.0), lr=lr)
    for step in range(STEPS):
        batch = batches[step % len(batches)]
        optimizer.zero_grad()
        loss, _ = combine(network.criterion(network(batch), batch), weights)
        loss.backward()
        for name, parameter in network.named_parameters():
            if parameter.grad is not None and name in frozen:
                leaking.add(name)
            if parameter.grad is not None and bool((parameter.grad != 0).any()):
                reached.add(name)
        optimizer.step()
    idle = set.intersection(*({id(parameter) for parameter in network.idle(batch)} for batch in batches))
    trainable = [
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and name not in frozen and id(parameter) not in idle
    ]
    results = [_gradients_reach(trainable, reached)]
    if frozen:
        after = network.state_dict()
        changed = {name for name, tensor in before.items() if not after[name].equal(tensor)}
        results.append(_frozen_stays(frozen, leaking, changed))
    return results


def _gradients_reach(trainable: list[str], reached: set[str]) -> Result:
    dry = [name for name in trainable if name not in reached]
    cause = (
        f"Never a gradient: {_some(dry)}. Nothing that the loss sees depends on them: "
        "a weight of loss.* is 0, a result is detached or not used. Remedy: use them, "
        "or set requires_grad to False (unused parameters stop distributed training)."
    )
    return Result(
        "gradients reach what is trained",
        f"{len(trainable) - len(dry)} of {len(trainable)} tensors in {STEPS} steps",
        "all",
        "FAILED" if dry else "ok",
        cause if dry else "",
        float(len(dry)),
    )


def _frozen_stays(frozen: set[str], leaking: set[str], changed: set[str]) -> Result:
    wrong = sorted(leaking | changed)
    cause = (
        f"{len(leaking)} frozen tensors get gradients, {len(changed)} change: {_some(wrong)}. "
        "They throttle gradient clipping and drift away from Stage 1. Remedy: "
        "requires_grad_(False), evaluation mode (batch statistics too), and no place in the optimizer."
    )
    return Result(
        "frozen means frozen",
        f"{len(wrong)} of {len(frozen)} tensors move or get gradients",
        "0",
        "FAILED" if wrong else "ok",
        cause if wrong else "",
        float(len(wrong)),
    )


def _frozen(network: Network) -> set[str]:
    """Names of the parameters and buffers that must not move: those of the frozen part, and what asks for
    no gradient."""
    names = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    if network.frozen is not None:
        values = {id(value) for value in network.frozen.state_dict(keep_vars=True).values()}
        state = network.state_dict(keep_vars=True)
        names |= {name for name, value in state.items() if id(value) in values}
    return names


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def check_processes(
    make_network: Callable[[], Network], samples: list[Sample], weights: dict[str, float]
) -> Result:
    """Whether two processes with half of a batch each compute the loss and gradient of one with all of it.

    The halves go through the same arithmetic as in training: each one's loss over the count of both, the mean
    of both gradients. A network that draws at random (the hand finder looks at half of the pictures in the
    mirror) gives two losses for one batch and is not compared.
    """
    half = len(samples) // 2
    parts = [collate(samples[:half]), collate(samples[half : 2 * half])]
    network = make_network()
    loss, whole = _gradient(network, collate(samples[: 2 * half]), weights)
    name, expected = "two processes agree with one", f"at most {LOSS_TOLERANCE:g}, {GRADIENT_TOLERANCE:g}"
    if loss != _gradient(make_network(), collate(samples[: 2 * half]), weights)[0]:
        return Result(name, "not compared: the network draws random numbers in training", expected)
    locals_: list[Tensor] = []
    for part in parts:  # what each process would tell the other

        def note(local: Tensor) -> Tensor:
            locals_.append(local)
            return local

        with torch.no_grad():
            fresh = make_network()
            combine(fresh.criterion(fresh(part), part), weights, note, 2, fresh.terms)
    halves = [_gradient(make_network(), part, weights, lambda _: sum(locals_), 2) for part in parts]
    mean_loss = (halves[0][0] + halves[1][0]) / 2
    mean = {name: (halves[0][1][name] + halves[1][1][name]) / 2 for name in whole}
    apart = abs(mean_loss - loss) / max(abs(loss), 1e-12)
    squares = [
        sum(float((mean[name] - whole[name]).square().sum()) for name in whole),
        sum(float(g.square().sum()) for g in whole.values()),
    ]
    gradient = (squares[0] / max(squares[1], 1e-24)) ** 0.5
    text = f"loss {apart:.1e}, gradient {gradient:.1e} apart (relative)"
    if apart <= LOSS_TOLERANCE and gradient <= GRADIENT_TOLERANCE:
        return Result(name, text, expected, number=gradient)
    effects = list(sharing_effects(network, parts[0].frame_mask.numel()))
    if effects:
        return Result(name, text, expected, "warning", f"On two processes {effects[0]}.", gradient)
    cause = (
        "The loss of half a batch is not its share of the whole's: a term sums or averages by itself. "
        "Remedy: return it unreduced, with its mask."
    )
    return Result(name, text, expected, "FAILED", cause, gradient)


def _gradient(
    network: Network, batch: ClipBatch, weights: dict[str, float], total=None, processes: int = 1
) -> tuple[float, dict[str, Tensor]]:
    loss, _ = combine(network.criterion(network(batch), batch), weights, total, processes, network.terms)
    loss.backward()
    return float(loss.detach()), {
        name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None
    }
