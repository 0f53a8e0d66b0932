"""One shape for all hands of a group: a person's hand does not change between frames.

The most probable shape when every hand poses with it as it likes best: poses are eliminated (variable
projection: Golub & Pereyra, "The Differentiation of Pseudo-Inverses and Nonlinear Least Squares Problems
Whose Variables Separate", 1973), and what remains is a Gauss-Newton step in the shape alone, whose matrix
is the sum of the hands' Schur complements.
"""

from typing import NamedTuple

import roma
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.hand.fit_solver import CHUNK, FittedHands, Measured, Solver
from tempohand.hand.initial_guess import FitState
from tempohand.skeleton import NUM_BETAS, NUM_MANO_JOINTS, POSE_DIM

ROUNDS = 20
TOLERANCE = 1e-3  # of a beta, in standard deviations
_ITERATIONS = 30  # of a hand's pose in a round
_LEAST_STEP = 1 / 16
_SHAPE = slice(POSE_DIM, POSE_DIM + NUM_BETAS)
_POSE = [*range(POSE_DIM), *range(POSE_DIM + NUM_BETAS, POSE_DIM + NUM_BETAS + 3)]


class _Posing(Solver):
    """Moves everything but the shape."""

    def normal_equations(self, hands: FitState, measured: Measured) -> tuple[Tensor, Tensor]:
        matrix, vector = super().normal_equations(hands, measured)
        matrix[:, _SHAPE] = 0.0
        matrix[:, :, _SHAPE] = 0.0
        matrix.diagonal(dim1=1, dim2=2)[:, _SHAPE] = 1.0
        vector[:, _SHAPE] = 0.0
        return matrix, vector


class _Posed(NamedTuple):
    hands: FitState
    cost: Float[Tensor, "n"]  # of joints and poses, without the shape's own
    converged: Bool[Tensor, "n"]


def share_shape(
    solver: Solver, measured: Measured, fitted: FittedHands, group: Int[Tensor, "n"]
) -> FittedHands:
    """The hands with one shape in each group (numbers from 0), beginning at hands that were fitted one by
    one, all of them usable."""
    rotations = roma.rotvec_to_rotmat(fitted.pose.unflatten(1, (NUM_MANO_JOINTS, 3)))
    groups = int(group.max()) + 1
    counts = _sum(torch.ones_like(fitted.shape[:, :1]), group, groups)
    shape = _sum(fitted.shape, group, groups) / counts
    posing = _Posing(solver.model, solver.prior)
    now = _pose(posing, FitState(rotations, fitted.shape, fitted.trans), measured, shape, group)
    cost = _sum(now.cost, group, groups) + shape.square().sum(1)
    for _ in range(ROUNDS):
        step = _step(solver, measured, now.hands, shape, group)
        share = torch.ones_like(cost)
        while True:  # each group goes as far as it gets better
            there = _pose(posing, now.hands, measured, shape + share[:, None] * step, group)
            reached = _sum(there.cost, group, groups) + (shape + share[:, None] * step).square().sum(1)
            worse = reached > cost + 1e-9 * cost
            if not worse.any():
                break
            share = torch.where(worse, torch.where(share > _LEAST_STEP, share / 2, 0.0), share)
        step = share[:, None] * step
        shape = shape + step
        now, cost = there, reached
        if step.abs().max() < TOLERANCE:
            break
    return solver.result(now.hands, measured, now.converged)


def _sum(values: Float[Tensor, "n *rest"], group: Int[Tensor, "n"], groups: int) -> Float[Tensor, "g *rest"]:
    return values.new_zeros(groups, *values.shape[1:]).index_add(0, group, values)


def _pose(
    posing: _Posing,
    hands: FitState,
    measured: Measured,
    shape: Float[Tensor, "g 10"],
    group: Int[Tensor, "n"],
) -> _Posed:
    """Every hand as it likes best with its group's shape."""
    hands = hands._replace(betas=shape[group])
    parts = []
    for rows in torch.arange(len(group), device=group.device).split(CHUNK):
        parts.append(posing.solve(hands.at(rows), _at(measured, rows), _ITERATIONS))
    states, costs, converged = zip(*parts)
    state = FitState(*(torch.cat(fields) for fields in zip(*states)))
    return _Posed(state, torch.cat(costs) - state.betas.square().sum(1), torch.cat(converged))


def _step(
    solver: Solver,
    measured: Measured,
    hands: FitState,
    shape: Float[Tensor, "g 10"],
    group: Int[Tensor, "n"],
) -> Float[Tensor, "g 10"]:
    """Gauss-Newton, of each group's shape under its own prior."""
    identity = torch.eye(NUM_BETAS, dtype=shape.dtype, device=shape.device)
    matrix, vector = identity.expand(len(shape), -1, -1).clone(), -shape
    for rows in torch.arange(len(group), device=group.device).split(CHUNK):
        whole, right = solver.normal_equations(hands.at(rows), _at(measured, rows))
        own = whole[:, _SHAPE, _SHAPE] - identity  # the prior is the group's, not each hand's
        across = whole[:, _POSE][:, :, _SHAPE]
        posing = whole[:, _POSE][:, :, _POSE]
        solved = torch.linalg.solve(posing, torch.cat([across, right[:, _POSE, None]], dim=2))
        reduced = across.mT @ solved
        matrix = matrix + _sum(own - reduced[..., :NUM_BETAS], group[rows], len(shape))
        pull = right[:, _SHAPE] + hands.betas[rows] - reduced[..., NUM_BETAS]
        vector = vector + _sum(pull, group[rows], len(shape))
    return torch.linalg.solve(matrix, vector)


def _at(measured: Measured, rows: Tensor) -> Measured:
    return type(measured)(*(field[rows] for field in measured))
