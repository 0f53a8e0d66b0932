"""The temporal protocol: accelerations in the three units that papers print, and HaWoR's errors of whole
stretches."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from tempohand.evaluation.metrics import motion
from tempohand.evaluation.metrics.alignment import relative_to
from tempohand.evaluation.protocols.protocol import Protocol
from tempohand.evaluation.protocols.quantity import Quantity, mean_quantity
from tempohand.evaluation.samples import Prediction, Truth
from tempohand.skeleton import WRIST

SHORTEST = 16  # frames that HaWoR's evaluation wants of a stretch


def stretches(truth: Truth, wanted: Bool[Tensor, "n"]) -> Iterator[tuple[Tensor, float]]:
    """(places, seconds a frame) of each run of wanted samples of one sequence that follow each other at the
    sequence's usual step.

    The usual step of frame numbers is the most common one (data sets come thinned out); its time is the
    median over such steps.
    """
    names = truth.sequence
    borders = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)] if len(names) else []
    for first, end in zip(borders[:-1], borders[1:]):
        steps = np.diff(truth.frame[first:end])
        sizes, counts = np.unique(steps[steps > 0], return_counts=True)
        if not len(sizes):
            continue
        usual = sizes[counts.argmax()]
        seconds = float(truth.time[first:end].diff()[torch.from_numpy(steps == usual)].median())
        if seconds <= 0:
            continue
        chosen = wanted[first:end].numpy()
        follows = np.concatenate([[False], (steps == usual) & chosen[1:] & chosen[:-1]])
        run = np.cumsum(~follows)
        for number in np.unique(run[chosen]):
            yield first + torch.from_numpy(np.flatnonzero((run == number) & chosen)), seconds


def temporal(truth: Truth, prediction: Prediction) -> list[Quantity]:
    """accel_vibe (mm/frame^2, wrist-relative joints, triples of visible frames), accel_arctic (m/s^2,
    wrist-relative vertices), accel_hawor (m/s^2, joints in camera space, both ends of a stretch trimmed),
    w_mpjpe_100 and wa_mpjpe_100 (mm) and rte (%).

    A value stands at its triple's middle frame, or at its own. Camera space is the world where the camera
    stands still: a table does not hold a camera's path.
    """
    ours, true = prediction.joints, truth.joints
    visible = truth.joints_mask.all(dim=1)
    relative = [relative_to(joints.nan_to_num(), joints[:, WRIST].nan_to_num()) for joints in (ours, true)]
    quantities = {}

    def add(name: str, unit: str, wanted: Bool[Tensor, "n"], shortest: int, errors: Callable) -> None:
        value = torch.zeros(len(truth), 1, dtype=torch.float64)
        mask = torch.zeros_like(value, dtype=torch.bool)
        for places, seconds in stretches(truth, wanted):
            if len(places) >= shortest:
                error, counted = errors(places, seconds)
                skipped = (len(places) - len(error)) // 2
                places = places[skipped : skipped + len(error)]
                value[places, 0], mask[places, 0] = error.nan_to_num(), counted & error.isfinite()
        quantities[name] = mean_quantity(name, unit, value, mask, truth.cluster)

    def all_of(error: Tensor) -> tuple[Tensor, Tensor]:
        return error, torch.ones_like(error, dtype=torch.bool)

    everything, placed = torch.ones_like(visible), visible & truth.has_camera
    add(
        "accel_vibe",
        "mm/frame^2",
        everything,
        3,
        lambda i, _: motion.vibe_acceleration(relative[0][i], relative[1][i], visible[i]),
    )
    assert truth.vertices_mask is not None, "this protocol asks for vertices"
    add(
        "accel_arctic",
        "m/s^2",
        truth.vertices_mask,
        3,
        lambda i, step: all_of(
            motion.arctic_acceleration(
                prediction.vertices[i], ours[i, WRIST], truth.vertices[i], true[i, WRIST], step
            )
        ),
    )
    add(
        "accel_hawor",
        "m/s^2",
        placed,
        SHORTEST,
        lambda i, step: all_of(motion.hawor_acceleration(ours[i], true[i], step)),
    )
    add("w_mpjpe_100", "mm", placed, SHORTEST, lambda i, _: all_of(motion.w_mpjpe(ours[i], true[i])))
    add("wa_mpjpe_100", "mm", placed, SHORTEST, lambda i, _: all_of(motion.wa_mpjpe(ours[i], true[i])))
    add("rte", "%", placed, SHORTEST, lambda i, _: all_of(motion.rte(ours[i, WRIST], true[i, WRIST])))
    return list(quantities.values())


PROTOCOL = Protocol("acceleration and stretches", (), "test", temporal, vertices=True)
