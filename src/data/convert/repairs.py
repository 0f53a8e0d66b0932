"""Known mistakes of conversions, each with the repair that undoes it. A mistake is recognised when its repair
makes contradicting labels agree.

So a cause is never guessed from a symptom: it is named only after its remedy has been tried on the rows that
are wrong.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import roma
import torch
from jaxtyping import Float

from tempohand.data.consistency import BOUNDS, HandModels, Labels, measure, project, valid
from tempohand.data.convert.orders import ORDERS
from tempohand.geometry import mirror_pose, rotate_pose
from tempohand.hand.layer import HandLayer
from tempohand.skeleton import JOINT_NAMES, POSE_DIM

RECOGNISED = 0.9  # of the wrong rows a repair must put right


@dataclass(frozen=True)
class Repair:
    """A mistake in words, its remedy in words, and what undoes it: labels in, changed columns out (None: it
    cannot be this)."""

    mistake: str
    remedy: str
    undo: Callable[[Labels], Labels | None]


def recognise(labels: Labels, hands: HandModels) -> dict[str, Repair]:
    """For each measurement of consistency.BOUNDS that is out of bounds in some of these rows, the repair that
    puts those right, where there is one.

    Of several repairs the one that puts most measurements right counts, then the first in the list; none may
    spoil what was right.
    """
    wrong = {name: ~BOUNDS[name].holds(values) for name, values in measure(labels, hands).items()}
    best: dict[str, tuple[int, Repair]] = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # of medians over nothing: labels that are wrong may be anything
        warnings.simplefilter("ignore", RuntimeWarning)
        candidates = [(repair, repair.undo(labels)) for repair in repairs(labels, hands)]
    for repair, changed in candidates:
        if changed is None:
            continue
        after = measure(labels | changed, hands)
        right = {name: BOUNDS[name].holds(values) for name, values in after.items()}
        if any((~right[name] & ~rows).mean() > 1 - RECOGNISED for name, rows in wrong.items()):
            continue
        mended = [
            name
            for name, rows in wrong.items()
            if rows.any() and (right[name] & np.isfinite(after[name]))[rows].mean() >= RECOGNISED
        ]
        for name in mended:
            if name not in best or len(mended) > best[name][0]:
                best[name] = len(mended), repair
    return {name: repair for name, (_, repair) in best.items()}


def repairs(labels: Labels, hands: HandModels) -> Iterator[Repair]:
    """Every known mistake. `labels` serve only to fit numbers (a scale, an order) that some of them have."""
    yield from _units()
    yield from _axes()
    yield from _centring()
    yield from _pixels()
    yield from _orders(labels, hands)
    yield from _sides()
    yield from _means(hands)
    yield _wrists(hands)
    yield from _boxes()
    yield from _cameras(labels)
    yield _orientations(hands)


def _subsets(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every choice of some of the names, the whole first."""
    for count in range(len(names), 0, -1):
        yield from combinations(names, count)


def _list(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _each(names: Iterable[str], change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Labels], Labels]:
    """Undoes by the same change of several columns."""
    return lambda labels: {name: change(labels[name]) for name in names}


def _units() -> Iterator[Repair]:
    for unit, scale in (("metres", 1000.0), ("centimetres", 10.0), ("micrometres", 0.001)):
        for names in _subsets(("joints", "trans")):
            mistake = f"{_list(names)} in {unit}, not millimetres"
            remedy = f"multiply {_list(names)} by {scale:g} in the conversion"
            yield Repair(mistake, remedy, _each(names, partial(np.multiply, scale)))


AXES = {
    "OpenGL axes (y up, z backward)": (1, -1, -1),
    "PyTorch3D axes (x left, y up)": (-1, -1, 1),
    "axes with x and z reversed": (-1, 1, -1),
}


def _axes() -> Iterator[Repair]:
    for axes, signs in AXES.items():
        turn = torch.diag(torch.tensor(signs, dtype=torch.float32))
        for names in _subsets(("joints", "trans", "pose")):

            def undo(labels: Labels, names=names, turn=turn, signs=signs) -> Labels:
                return {
                    name: rotate_pose(turn, _pose(labels)).numpy()
                    if name == "pose"
                    else labels[name] * np.array(signs, np.float32)
                    for name in names
                }

            orientation = " (the global orientation R becomes D R)" if "pose" in names else ""
            yield Repair(
                f"{_list(names)} in {axes}, not OpenCV's (x right, y down, z forward)",
                f"multiply {_list(names)} by D = diag{signs} in the conversion{orientation}",
                undo,
            )


def _centring() -> Iterator[Repair]:
    once = (
        "the losses and metrics centre joints themselves, so centred ones are centred twice and camera "
        "space is lost"
    )
    for times, mistake, remedy in (
        (1, "joints relative to the wrist (centred already)", "add trans"),
        (2, "joints from which the wrist was subtracted twice", "add 2 trans"),
    ):

        def undo(labels: Labels, times=times) -> Labels:
            return {"joints": labels["joints"] + times * labels["trans"][:, None]}

        yield Repair(mistake, f"{once}: store joints in camera space ({remedy})", undo)

    def from_another(labels: Labels) -> Labels | None:
        joints = valid(labels, "joints")
        place = int(np.nanmedian(np.linalg.norm(joints, axis=2), axis=0).argmin())
        if place == 0 or np.nanmax(np.abs(joints[:, place])) > 1e-3:
            return None
        return {"joints": (labels["joints"] - labels["joints"][:, :1] + labels["trans"][:, None])}

    yield Repair(
        "joints relative to another joint than the wrist (centred already)",
        f"{once}: store them in camera space",
        from_another,
    )


# mistake, remedy, change of 2D joints [n, 21, 2] in pictures of the size (W, H) [n, 1, 2]
# fmt: off
PIXELS = (
    ("2D joints as (row, column)", "store (u, v): x right first, y down second",
     lambda uv, _: uv[..., ::-1]),
    ("2D joints normalised to [0, 1]", "multiply them by (W, H)",
     lambda uv, size: uv * size),
    ("2D joints normalised to [-0.5, 0.5]", "store (uv + 0.5) * (W, H)",
     lambda uv, size: (uv + 0.5) * size),
    ("2D joints normalised to [-1, 1]", "store (uv + 1) / 2 * (W, H)",
     lambda uv, size: (uv + 1) / 2 * size),
    ("2D joints scaled with width and height exchanged", "multiply u by W / H and v by H / W",
     lambda uv, size: uv * size / size[..., ::-1]),
    ("2D joints mirrored", "store u = W - 1 - u, or do not mirror the picture's labels",
     lambda uv, size: np.stack([size[..., 0] - 1 - uv[..., 0], uv[..., 1]], -1)),
)
# mistake, remedy, change of boxes [n, 4] in pictures of the size (W, H) [n, 2]
BOXES = (
    ("boxes as x, y, width, height", "store xyxy: x, y, x + width, y + height",
     lambda box, _: np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)),
    ("boxes as centre, width, height", "store xyxy: centre -+ half of width and height",
     lambda box, _: np.concatenate([box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2], axis=1)),
    ("boxes normalised to [0, 1]", "multiply them by (W, H, W, H)",
     lambda box, size: box * np.tile(size, 2)),
    ("boxes as y, x, y, x", "store xyxy",
     lambda box, _: box[:, [1, 0, 3, 2]]),
)
# fmt: on


def _sizes(labels: Labels) -> Float[np.ndarray, "n 2"]:
    return np.stack([labels["width"], labels["height"]], axis=1).astype(np.float32)


def _pixels() -> Iterator[Repair]:
    for mistake, remedy, change in PIXELS:

        def undo(labels: Labels, change=change) -> Labels:
            return {"joints2d": change(labels["joints2d"], _sizes(labels)[:, None])}

        yield Repair(mistake, remedy, undo)


def _boxes() -> Iterator[Repair]:
    for mistake, remedy, change in BOXES:

        def undo(labels: Labels, change=change) -> Labels:
            return {"box": change(labels["box"], _sizes(labels))}

        yield Repair(mistake, remedy, undo)


def _orders(labels: Labels, hands: HandModels) -> Iterator[Repair]:
    for order, gather in list(ORDERS.items())[1:]:
        for names in _subsets(("joints", "joints2d")):
            yield _ordered(f"{_list(names)} in another order: {order}", gather, names)
    fitted = {
        "joints": gather_between(
            valid(labels, "joints"), hands.joints(labels) + labels["trans"][:, None].astype(float)
        ),
        "joints2d": gather_between(valid(labels, "joints2d"), project(labels)),
    }
    for fit, gather in fitted.items():
        if gather is not None and gather not in ORDERS.values():
            moved = ", ".join(
                f"{JOINT_NAMES[to]} at {JOINT_NAMES[place]}'s place"
                for to, place in enumerate(gather)
                if to != place
            )
            for names in [("joints", "joints2d"), (fit,)]:
                yield _ordered(f"{_list(names)} in another order ({moved})", gather, names)


def gather_between(
    stored: Float[np.ndarray, "n 21 d"], wanted: Float[np.ndarray, "n 21 d"]
) -> tuple[int, ...] | None:
    """The gather that makes `wanted` of `stored`: for each wanted joint the stored one that lies nearest
    (median over rows); None where that is no permutation."""
    with np.errstate(all="ignore"):
        distance = np.linalg.norm(stored[:, None] - wanted[:, :, None], axis=-1)  # (n, wanted, stored)
    known = np.isfinite(distance).all((1, 2))
    if not known.any():
        return None
    gather = np.median(distance[known], axis=0).argmin(1)
    return tuple(gather.tolist()) if len(set(gather.tolist())) == len(gather) else None


def _ordered(mistake: str, gather: tuple[int, ...], names: tuple[str, ...]) -> Repair:
    columns = [column for name in names for column in (name, f"{name}_mask")]
    remedy = (
        f"gather {_list(names)} with {list(gather)} in the conversion (skeleton.py names the OpenPose order)"
    )
    return Repair(mistake, remedy, _each(columns, lambda column: column[:, list(gather)]))


def _sides() -> Iterator[Repair]:
    own = (
        "a table's pose is that of the hand as it is, the view mirrors it later: store (x, -y, -z) of "
        "every axis-angle"
    )
    for is_right, mistake in (
        (False, "unmirrored pose of left hands (a right hand's, as a left one's mirror image has it)"),
        (True, "pose of right hands mirrored (a left hand's)"),
    ):

        def undo(labels: Labels, is_right=is_right) -> Labels:
            chosen = labels["is_right"][:, None] == is_right
            return {"pose": np.where(chosen, mirror_pose(_pose(labels)).numpy(), labels["pose"])}

        yield Repair(mistake, own, undo)
    yield Repair("sides exchanged", "invert is_right", _each(("is_right",), np.invert))


def _by_side(
    labels: Labels, hands: HandModels, name: str, change: Callable[[HandLayer], torch.Tensor]
) -> Labels:
    """A column as `change` gives it with the hand layer of each row's own side."""
    is_right = torch.from_numpy(labels["is_right"])[:, None]
    return {name: torch.where(is_right, change(hands.right), change(hands.left)).numpy()}


def _means(hands: HandModels) -> Iterator[Repair]:
    """Mean pose and principal components, each of the row's own side."""

    def fingers(change: Callable[[HandLayer, torch.Tensor], torch.Tensor]) -> Callable[[Labels], Labels]:
        return lambda labels: _by_side(labels, hands, "pose", lambda layer: change(layer, _pose(labels)))

    yield Repair(
        "pose counts from the mean pose (smplx's flat_hand_mean=False): PCA and mean mixed up",
        "add hands_mean to the finger pose (HandLayer.add_mean)",
        fingers(HandLayer.add_mean),
    )
    yield Repair(
        "the mean pose added twice: PCA and mean mixed up",
        "subtract hands_mean from the finger pose (HandLayer.subtract_mean)",
        fingers(HandLayer.subtract_mean),
    )
    for flat in (False, True):

        def from_pca(layer: HandLayer, pose: torch.Tensor, flat=flat) -> torch.Tensor:
            return layer.pca_to_pose(*pose.split([3, POSE_DIM - 3], dim=-1), flat_hand_mean=flat)

        yield Repair(
            f"PCA coefficients in place of axis-angle ({'without' if flat else 'with'} the mean pose)",
            f"convert them with HandLayer.pca_to_pose(..., flat_hand_mean={flat})",
            fingers(from_pca),
        )


def _wrists(hands: HandModels) -> Repair:
    def undo(labels: Labels) -> Labels:
        transl, betas = (torch.from_numpy(labels[name]) for name in ("trans", "shape"))
        return _by_side(labels, hands, "trans", lambda layer: layer.transl_to_wrist(transl, betas))

    remedy = "store HandLayer.transl_to_wrist(transl, betas)"
    return Repair("trans is MANO's transl, not the wrist", remedy, undo)


def _cameras(labels: Labels) -> Iterator[Repair]:
    for names in (("princpt",), ("focal",), ("focal", "princpt")):
        yield Repair(
            f"{_list(names)} with x and y swapped",
            f"store {_list(names)} as (x, y)",
            _each(names, lambda column: column[:, ::-1]),
        )
    joints2d, projected = valid(labels, "joints2d"), project(labels)
    spread = [
        np.linalg.norm(points - points[:, :1], axis=2)[:, 1:].sum(1) for points in (joints2d, projected)
    ]
    scale = float(np.nan_to_num(np.nanmedian(spread[0] / spread[1]), nan=1.0))
    shift = np.nan_to_num(np.nanmean(joints2d - projected, axis=1))
    scaled = partial(np.multiply, np.float32(scale))
    yield Repair(
        f"intrinsics of a picture {1 / scale:.3g} times as large (it was resized)",
        f"multiply focal and princpt by {scale:.4g}",
        _each(("focal", "princpt"), scaled),
    )
    yield Repair(
        "a focal length that is not this picture's",
        f"multiply focal by {scale:.4g}",
        _each(("focal",), scaled),
    )
    yield Repair(
        "a principal point that is not this picture's (a median of "
        f"{np.median(np.linalg.norm(shift, axis=1)):.0f} px off)",
        "a crop moves it: subtract the crop's corner from princpt",
        _each(("princpt",), lambda princpt: princpt + shift),
    )


def _orientations(hands: HandModels) -> Repair:
    def undo(labels: Labels) -> Labels:
        """The global orientation of each row that fits its joints best."""
        joints = torch.from_numpy(np.nan_to_num(valid(labels, "joints"))).double()
        posed = torch.from_numpy(np.nan_to_num(hands.joints(labels))).double()
        rotation = roma.rigid_vectors_registration(posed, joints - joints[:, :1])
        return {"pose": rotate_pose(rotation.float(), _pose(labels)).numpy()}

    return Repair(
        "a global orientation in other axes than the joints",
        "apply the camera's rotation R (extrinsics, change of axes) to it too: R R_root",
        undo,
    )


def _pose(labels: Labels) -> torch.Tensor:
    return torch.from_numpy(np.nan_to_num(labels["pose"]).astype(np.float32))
