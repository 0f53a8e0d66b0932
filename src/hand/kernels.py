"""The hand's kinematics and skinning on the CPU, compiled by numba: forward, and the gradients by hand.

Written out over one hand at a time, every intermediate stays in the cache and a batch of one costs a few
calls instead of a hundred small operations. The same functions as `kinematics.pose_hand`, which is the oracle
they are tested against.

Arrays: coordinates of vertices lie in planes, [N, 3 V] with all x first, so that the inner loops run over
neighbouring numbers. A `motion` is a joint's rigid motion x -> G x + s as 12 numbers: G row by row, then s.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from tempohand.skeleton import NUM_MANO_JOINTS

JOINTS = NUM_MANO_JOINTS  # a number the compiler knows
# Sums may be reordered to use vector registers; nan and inf keep their meaning.
_MATH = {"reassoc", "contract", "arcp", "nsz"}


@njit(cache=True, fastmath=_MATH, nogil=True, error_model="numpy")
@no_type_check
def rotations_forward(rotvecs, rotations):
    """Rotation matrices [N, 3, 3] of rotation vectors [N, 3] (Rodrigues' formula)."""
    for n in range(len(rotvecs)):
        x, y, z = float(rotvecs[n, 0]), float(rotvecs[n, 1]), float(rotvecs[n, 2])
        a, b, _, _ = _rodrigues(x * x + y * y + z * z)
        out = rotations[n]
        out[0, 0], out[0, 1], out[0, 2] = 1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y
        out[1, 0], out[1, 1], out[1, 2] = b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x
        out[2, 0], out[2, 1], out[2, 2] = b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y)


@njit(cache=True, fastmath=_MATH, nogil=True, error_model="numpy")
@no_type_check
def rotations_backward(rotvecs, g_rotations, g_rotvecs):
    """Gradient [N, 3] to rotation vectors [N, 3] of that [N, 3, 3] to their matrices; exact at zero."""
    for n in range(len(rotvecs)):
        x, y, z = float(rotvecs[n, 0]), float(rotvecs[n, 1]), float(rotvecs[n, 2])
        a, b, da, db = _rodrigues(x * x + y * y + z * z)
        g = g_rotations[n]
        # R = I + a K + b (w w^T - |w|^2 I), so the gradients to a, b and to w where it stands by itself:
        p, q, r = float(g[2, 1] - g[1, 2]), float(g[0, 2] - g[2, 0]), float(g[1, 0] - g[0, 1])
        trace = float(g[0, 0] + g[1, 1] + g[2, 2])
        u = 2 * g[0, 0] * x + (g[0, 1] + g[1, 0]) * y + (g[0, 2] + g[2, 0]) * z
        v = (g[0, 1] + g[1, 0]) * x + 2 * g[1, 1] * y + (g[1, 2] + g[2, 1]) * z
        w = (g[0, 2] + g[2, 0]) * x + (g[1, 2] + g[2, 1]) * y + 2 * g[2, 2] * z
        length = x * x + y * y + z * z
        # da and db are derivatives by |w|, divided by |w|.
        along = da * (p * x + q * y + r * z) + db * (0.5 * (u * x + v * y + w * z) - length * trace)
        g_rotvecs[n, 0] = a * p + b * (u - 2 * trace * x) + along * x
        g_rotvecs[n, 1] = a * q + b * (v - 2 * trace * y) + along * y
        g_rotvecs[n, 2] = a * r + b * (w - 2 * trace * z) + along * z


@njit(cache=True, inline="always")
@no_type_check
def _rodrigues(square):
    """a = sin t / t, b = (1 - cos t) / t^2 at t^2 = `square`, and their derivatives by t, over t."""
    if square < 1e-2:
        a = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72)))
        b = 0.5 - square / 24 * (1 - square / 30 * (1 - square / 56 * (1 - square / 90)))
        da = -1 / 3 + square / 30 * (1 - square / 28 * (1 - square / 54))
        db = -1 / 12 + square / 180 * (1 - square / 37.333333333333336 * (1 - square / 67.5))
        return a, b, da, db
    angle = np.sqrt(square)
    a, b = np.sin(angle) / angle, (1 - np.cos(angle)) / square
    return a, b, (np.cos(angle) - a) / square, (a - 2 * b) / square


@njit(cache=True, fastmath=_MATH, nogil=True)
@no_type_check
def chain_forward(
    rotations, betas, trans, rest_joints, joint_dirs, parents, coefficients, rest, motions, joints
):
    """Along the kinematic tree: rotations [N, J, 3, 3], betas [N, B], wrists [N, 3] -> `coefficients`
    [N, B + 9 (J - 1)] of the shape and pose directions, `rest` and `joints` [N, J, 3], `motions` [N, J, 12].
    """
    count, shapes = len(parents), betas.shape[1]
    for n in range(len(rotations)):
        for b in range(shapes):
            coefficients[n, b] = betas[n, b]
        for j in range(count):
            for c in range(3):
                place = rest_joints[j, c]
                for b in range(shapes):
                    place += joint_dirs[j, c, b] * betas[n, b]
                rest[n, j, c] = place
        for j in range(count):
            own = rotations[n, j]
            motion = motions[n, j]
            parent = parents[j]
            if parent < 0:
                for r in range(3):
                    joints[n, j, r] = trans[n, r]
                    for c in range(3):
                        motion[3 * r + c] = own[r, c]
            else:
                before = motions[n, parent]
                for r in range(3):
                    place = joints[n, parent, r]
                    for c in range(3):
                        place += before[3 * r + c] * (rest[n, j, c] - rest[n, parent, c])
                        motion[3 * r + c] = (
                            before[3 * r] * own[0, c]
                            + before[3 * r + 1] * own[1, c]
                            + before[3 * r + 2] * own[2, c]
                        )
                        coefficients[n, shapes + 9 * (j - 1) + 3 * r + c] = own[r, c] - (r == c)
                    joints[n, j, r] = place
            for r in range(3):
                turned = (
                    motion[3 * r] * rest[n, j, 0]
                    + motion[3 * r + 1] * rest[n, j, 1]
                    + motion[3 * r + 2] * rest[n, j, 2]
                )
                motion[9 + r] = joints[n, j, r] - turned


@njit(cache=True, fastmath=_MATH, nogil=True)
@no_type_check
def chain_backward(
    rotations,
    rest,
    motions,
    joint_dirs,
    parents,
    g_coefficients,
    g_motions,
    g_joints,
    g_rotations,
    g_betas,
    g_trans,
):
    """The gradients of `chain_forward`, tips to wrist. `g_motions` and `g_joints` are used up on the way."""
    count, shapes = len(parents), g_betas.shape[1]
    g_rest = np.zeros((count, 3), dtype=rest.dtype)
    for n in range(len(rotations)):
        g_rest[:] = 0
        for j in range(count):
            shift, motion = g_motions[n, j], motions[n, j]
            for r in range(3):
                g_joints[n, j, r] += shift[9 + r]
                for c in range(3):
                    shift[3 * r + c] -= shift[9 + r] * rest[n, j, c]
                    g_rest[j, c] -= motion[3 * r + c] * shift[9 + r]
        for j in range(count - 1, 0, -1):
            parent = parents[j]
            g_motion = g_motions[n, j]
            g_before = g_motions[n, parent]
            before = motions[n, parent]
            own = rotations[n, j]
            for r in range(3):
                g_place = g_joints[n, j, r]
                g_joints[n, parent, r] += g_place
                for c in range(3):
                    g_before[3 * r + c] += g_place * (rest[n, j, c] - rest[n, parent, c])
                    g_before[3 * r + c] += (
                        g_motion[3 * r] * own[c, 0]
                        + g_motion[3 * r + 1] * own[c, 1]
                        + g_motion[3 * r + 2] * own[c, 2]
                    )
                    g_rest[j, c] += before[3 * r + c] * g_place
                    g_rest[parent, c] -= before[3 * r + c] * g_place
                    g_rotations[n, j, r, c] = (
                        before[r] * g_motion[c]
                        + before[3 + r] * g_motion[3 + c]
                        + before[6 + r] * g_motion[6 + c]
                        + g_coefficients[n, shapes + 9 * (j - 1) + 3 * r + c]
                    )  # fmt: skip
        for r in range(3):
            g_trans[n, r] = g_joints[n, 0, r]
            for c in range(3):
                g_rotations[n, 0, r, c] = g_motions[n, 0, 3 * r + c]
        for b in range(shapes):
            total = g_coefficients[n, b]
            for j in range(count):
                for c in range(3):
                    total += joint_dirs[j, c, b] * g_rest[j, c]
            g_betas[n, b] = total


@njit(cache=True, fastmath=_MATH, nogil=True)
@no_type_check
def skin_forward(shaped, motions, vertices, weights):
    """Linear blend skinning: planes [N, 3 V], motions [N, J, 12] and weights [J, V] -> `vertices` [N, V, 3].

    Most weights are zero; multiplying by them in vector registers is quicker than finding those that are not.
    """
    count = weights.shape[1]
    moved = np.empty(count, dtype=shaped.dtype)
    zero = shaped.dtype.type(0)
    for n in range(len(shaped)):
        x, y, z = shaped[n, :count], shaped[n, count : 2 * count], shaped[n, 2 * count :]
        for r in range(3):
            turn, shift = motions[n, :, 3 * r : 3 * r + 3], motions[n, :, 9 + r]
            for v in range(count):
                a, b, c, d = zero, zero, zero, zero
                for j in range(JOINTS):
                    weight = weights[j, v]
                    a += weight * turn[j, 0]
                    b += weight * turn[j, 1]
                    c += weight * turn[j, 2]
                    d += weight * shift[j]
                moved[v] = a * x[v] + b * y[v] + c * z[v] + d
            for v in range(count):
                vertices[n, v, r] = moved[v]


@njit(cache=True, fastmath=_MATH, nogil=True)
@no_type_check
def skin_backward(shaped, motions, g_vertices, g_tips, g_shaped, g_motions, weights, tips):
    """The gradients of `skin_forward` to the planes and to the motions; `g_tips` [N, T, 3] come on top for
    the vertices `tips` [T]."""
    count = weights.shape[1]
    zero = shaped.dtype.type(0)
    p = np.empty(count, dtype=shaped.dtype)
    q, r = np.empty_like(p), np.empty_like(p)
    for n in range(len(shaped)):
        for v in range(count):
            p[v], q[v], r[v] = g_vertices[n, v, 0], g_vertices[n, v, 1], g_vertices[n, v, 2]
        for t in range(len(tips)):
            p[tips[t]] += g_tips[n, t, 0]
            q[tips[t]] += g_tips[n, t, 1]
            r[tips[t]] += g_tips[n, t, 2]
        for k in range(3):
            column, g_plane = motions[n, :, k:9:3], g_shaped[n, k * count : (k + 1) * count]
            for v in range(count):
                a, b, c = zero, zero, zero
                for j in range(JOINTS):
                    weight = weights[j, v]
                    a += weight * column[j, 0]
                    b += weight * column[j, 1]
                    c += weight * column[j, 2]
                g_plane[v] = a * p[v] + b * q[v] + c * r[v]
        x, y, z = shaped[n, :count], shaped[n, count : 2 * count], shaped[n, 2 * count :]
        for k, g_row in enumerate((p, q, r)):
            for j in range(JOINTS):
                a, b, c, d = zero, zero, zero, zero
                for v in range(count):
                    share = weights[j, v] * g_row[v]
                    a += share * x[v]
                    b += share * y[v]
                    c += share * z[v]
                    d += share
                g_motions[n, j, 3 * k] = a
                g_motions[n, j, 3 * k + 1] = b
                g_motions[n, j, 3 * k + 2] = c
                g_motions[n, j, 9 + k] = d
