"""Checks of what the network is fed: the first batches of training, after crop and augmentation."""

import numpy as np
import torch

from tempohand.batch import ClipBatch
from tempohand.doctor.result import Result, judge
from tempohand.geometry import normalise_pixels, project
from tempohand.skeleton import WRIST

OUTSIDE = 0.1  # of the joints that may lie outside their crop
CENTRED_MM = (20.0, 150.0)  # mean distance of a hand's joints from its wrist
REPROJECTION = 0.03  # crop widths, consistency.BOUNDS' share of a hand in a crop of twice its box


def check_crops(batches: list[ClipBatch], shift: float = 0.0) -> list[Result]:
    """The results of all checks of batches. shift: how far the view moves crops, of their edge (the hand
    finder's by a half)."""
    return [
        _images(batches),
        _inside(batches, max(OUTSIDE, shift)),
        _centred(batches),
        _projection(batches),
        _masks(batches),
    ]


def _all(batches: list[ClipBatch], name: str) -> torch.Tensor:
    return torch.cat([getattr(batch.target, name)[:, 0] for batch in batches])


def _images(batches: list[ClipBatch]) -> Result:
    image = torch.cat([batch.frames.image for batch in batches if batch.frames.image is not None])
    mean = image.float().mean(dim=(0, 2, 3)).tolist()
    spread = float(image.float().std())
    dtype = str(image.dtype).removeprefix("torch.")
    text = f"{dtype}, RGB mean {mean[0]:.0f} {mean[1]:.0f} {mean[2]:.0f}, spread {spread:.0f}"
    name, expected = "crops: image range", "uint8, 0 to 255"
    if image.dtype == torch.uint8 and spread > 5 and image.max() > 1:
        return Result(name, text, expected, "ok", "", spread)
    cause = (
        "Crops are empty, or not 0 to 255. Remedy: look at the pictures and boxes with tempohand check-data."
    )
    return Result(name, text, expected, "FAILED", cause, spread)


def _inside(batches: list[ClipBatch], most: float) -> Result:
    joints2d, mask = _all(batches, "joints2d"), _all(batches, "joints2d_mask")
    name, expected = "crops: 2D in [-0.5, 0.5]", f"at most {most:.0%} outside"
    if not mask.any():
        return Result(
            name,
            "no 2D joint is known",
            expected,
            "warning",
            "Without 2D joints uv, joints2d and heatmap have nothing to learn from.",
        )
    share = float((joints2d.abs() > 0.5).any(-1)[mask].float().mean())
    cause = ""
    if share > most:
        cause = (
            "Crops miss their hands. Remedy: boxes are xyxy bounds of the joints in px of the stored "
            "picture, view.expansion enlarges them (2), "
            "and view.augmentation.shift and scale may be too large."
        )
    return Result(name, f"{share:.2%} outside", expected, judge(share, most / 2, most), cause, share)


def _centred(batches: list[ClipBatch]) -> Result:
    """The truth centred as losses and metrics do it."""
    joints, trans = _all(batches, "joints"), _all(batches, "trans")
    mask, hand = _all(batches, "joints_mask"), _all(batches, "hand_mask")
    name, expected = (
        "crops: root-centred truth",
        f"root at 0, joints {CENTRED_MM[0]:g} to {CENTRED_MM[1]:g} mm away, the wrist at trans",
    )
    known = mask & mask[:, WRIST : WRIST + 1]
    if not known.any():
        return Result(name, "no 3D joint is known", expected, "warning", "Only 2D terms will learn.")
    relative = joints - joints[:, WRIST : WRIST + 1]
    root = float(relative[:, WRIST].norm(dim=-1)[known[:, WRIST]].max())
    away = float(relative.norm(dim=-1)[known].mean()) * 21 / 20
    both = hand & mask[:, WRIST]
    apart = float((joints[:, WRIST] - trans)[both].norm(dim=-1).median()) if both.any() else 0.0
    text = f"root at {root:.1f}, joints {away:.0f} mm away, wrist {apart:.1f} mm from trans"
    cause = ""
    if not CENTRED_MM[0] <= away <= CENTRED_MM[1]:
        cause = (
            "Root-centred joints have no hand's size: another unit, or joints centred twice. Remedy: "
            "store mm in camera space."
        )
    elif apart > 10:
        cause = (
            "The wrist joint and trans are two places: joints are centred already, and are centred "
            "again, or trans is not the wrist. "
        )
        cause += "Remedy: store both in camera space, mm."
    return Result(name, text, expected, "FAILED" if cause else "ok", cause, away)


def _projection(batches: list[ClipBatch]) -> Result:
    name, expected = "crops: 2D = projection of 3D", f"at most {REPROJECTION:g} crop widths"
    errors = []
    for batch in batches:
        target = batch.target
        uv = normalise_pixels(
            project(target.joints, batch.focal[:, -1:], batch.princpt[:, -1:]), batch.frames.size[::-1]
        )
        known = target.joints_mask & target.joints2d_mask & target.camera_mask[..., None]
        errors.append((uv - target.joints2d).norm(dim=-1)[known])
    error = torch.cat(errors)
    if not len(error):
        return Result(name, "not known in any clip", expected)
    mean = float(error.mean())
    cause = (
        ""
        if mean <= REPROJECTION
        else "Camera and labels part in the view; see the same check of the table above for what explains it."
    )
    return Result(name, f"{mean:.2g} crop widths (mean)", expected, "FAILED" if cause else "ok", cause, mean)


def _masks(batches: list[ClipBatch]) -> Result:
    names = {"joints2d_mask": "2D", "joints_mask": "3D", "hand_mask": "pose", "camera_mask": "camera"}
    shares = {kind: float(_all(batches, name).float().mean()) for name, kind in names.items()}
    lacking = [kind for kind, share in shares.items() if share == 0]
    cause = (
        f"Nothing is known of: {', '.join(lacking)}. Terms that need it learn nothing; set their weights "
        "to 0 if that is meant."
        if lacking
        else ""
    )
    text = ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items())
    return Result(
        "crops: labels known",
        text,
        "more than 0 %",
        "warning" if lacking else "ok",
        cause,
        float(np.mean(list(shares.values()))),
    )
