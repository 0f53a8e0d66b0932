"""Crops turned so that a hand's fingers point up, which is how a backbone may have learnt hands; and what is
said of a turned crop, turned back.

Turning a camera about its optical axis is exact: the picture goes through one homography, camera space turns
with it, depth stays. Turns are angles in radians, clockwise as seen; 0 leaves everything as it is.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tempohand.batch import ClipBatch, Frames, HandPrediction
from tempohand.geometry import (
    apply_homography,
    beside,
    camera_rotation_homography,
    denormalise_pixels,
    fingers_angle,
    normalise_pixels,
    project,
    rotation_about_z,
)
from tempohand.hand.pose import rotmat_to_pose
from tempohand.model.sampling import warped

TURN_STEPS = 16  # a radian: few enough that half precision holds every turn as it is
LEAST_TURN = math.radians(35.0)  # crops nearer to upright stay as they are: training rolls by more


def turn_upright(readings: Float[Tensor, "*batch 21 f"]) -> Float[Tensor, "*batch"]:
    """By how much a crop has to turn so that the fingers point up, from where its heat maps see the joints
    (JointHeatmaps); 0 where it is nearly upright."""
    angle = fingers_angle(readings[..., :2].detach().float())
    turn = (-angle * TURN_STEPS).round() / TURN_STEPS
    return torch.where(angle.abs() > LEAST_TURN, turn, torch.zeros_like(turn))


def turned_frames(frames: Frames, turn: Float[Tensor, "n"]) -> Frames:
    """The frames' crops, turned about their middle, their edge repeated beyond it, with their cameras."""
    homography, princpt = _turning(frames, turn)
    image = warped(frames.image.float(), homography, frames.size)
    return replace(frames, image=image.round().clamp(0, 255).to(frames.image.dtype), princpt=princpt)


def turned_princpt(frames: Frames, turn: Float[Tensor, "n"]) -> Float[Tensor, "n 2"]:
    """The principal points of the frames' turned crops; focal lengths stay."""
    return _turning(frames, turn)[1]


def in_turned_crops(batch: ClipBatch, turn: Float[Tensor, "b"]) -> ClipBatch:
    """The clips' last frames with the cameras of their turned crops."""
    last = batch.last_frame()
    return replace(last, frames=replace(last.frames, princpt=turned_princpt(last.frames, turn)))


def turned_back(prediction: HandPrediction, turn: Float[Tensor, "b"], batch: ClipBatch) -> HandPrediction:
    """What was predicted in the turned crops of the clips' last frames, in the batch's own crops: hands and
    the loss terms' values."""
    back = rotation_about_z(-turn)[:, None]  # (b, 1, 3, 3)
    frames = batch.last_frame().frames
    root = back @ prediction.rotation[..., 0, :, :]
    rotation = torch.cat([root[..., None, :, :], prediction.rotation[..., 1:, :, :]], dim=-3)
    joints = prediction.joints @ back.mT
    pixels = project(joints, frames.focal[:, None].float(), frames.princpt[:, None].float())
    terms = prediction.terms and _terms_turned_back(prediction.terms, turn, frames)
    return HandPrediction(
        pose=rotmat_to_pose(rotation),
        rotation=rotation,
        shape=prediction.shape,
        trans=(back @ prediction.trans[..., None])[..., 0],
        joints=joints,
        vertices=prediction.vertices @ back.mT,
        joints2d=normalise_pixels(pixels, frames.size[::-1]),
        terms=terms,
    )


def root_turned(
    columns: Float[Tensor, "*batch 96"], rotation: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch 96"]:
    """A hand's rotations in 6D (`HandParameters.columns`), its orientation turned by `rotation`."""
    pairs = columns.unflatten(-1, (-1, 2, 3))  # of each matrix the first two columns
    root = pairs[..., 0, :, :] @ rotation.mT
    return torch.cat([root.flatten(-2), columns[..., 6:]], dim=-1)


def _terms_turned_back(terms: dict[str, Tensor], turn: Tensor, frames: Frames) -> dict[str, Tensor]:
    homography = _turning(frames, turn)[0].float()
    size, terms = frames.size[::-1], dict(terms)
    back = rotation_about_z(-turn)[:, None]
    terms["columns"] = root_turned(terms["columns"], back)
    for name in ("uv", "landmarks"):  # places in the crop
        if name in terms:
            places = denormalise_pixels(terms[name].flatten(1, -2), size)
            terms[name] = normalise_pixels(apply_homography(homography.inverse(), places), size).view_as(
                terms[name]
            )
    if "heatmaps" in terms:
        maps = terms["heatmaps"][:, 0]
        size = maps.shape[-2], maps.shape[-1]
        terms["heatmaps"] = warped(maps, _for_size(homography.inverse(), frames.size, size), size)[:, None]
    return terms


def _turning(frames: Frames, turn: Tensor) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 2"]]:
    """(homography from crops to turned ones, their principal points): the crop's middle stays where it is."""
    camera = frames.focal.double(), frames.princpt.double()
    height, width = frames.size
    middle = beside(camera[1], ((width - 1) / 2, (height - 1) / 2)).expand_as(camera[1])
    homography = camera_rotation_homography(rotation_about_z(turn.double()), *camera)
    moved = middle - apply_homography(homography, middle[:, None])[:, 0]
    shifted = homography[:, :2] + moved[..., None] * homography[:, 2:]
    return torch.cat([shifted, homography[:, 2:]], dim=1), (camera[1] + moved).to(frames.princpt)


def _for_size(homography: Tensor, size: tuple[int, int], other: tuple[int, int]) -> Tensor:
    """A homography of pictures of (height, width) for their maps of another size, borders upon borders."""
    scale = [theirs / ours for theirs, ours in zip(other[::-1], size[::-1])]
    to_maps = torch.eye(3, dtype=homography.dtype, device=homography.device)
    for axis, factor in enumerate(scale):
        to_maps[axis, axis], to_maps[axis, 2] = factor, (factor - 1) / 2
    return to_maps @ homography @ to_maps.inverse()
