"""Labels for pictures of hands without labels: the hand landmark network's answers to several crops of each,
averaged, and how far they are from each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tempohand.data.view import Placement, View, ViewDraw
from tempohand.geometry import apply_homography, fingers_angle, mirror_points, rotation_about_z
from tempohand.model.landmarks import SIZE, HandLandmarkNetwork, HandLandmarks

# The crops: mirrored, turned by so many degrees from where the fingers point up, as the network was trained,
# and so many times as wide as the longer edge of the joints' bounds. Half of all combinations: any two values
# meet once.
CROPS = ((False, -15.0, 1.2), (False, 15.0, 1.5), (True, -15.0, 1.5), (True, 15.0, 1.2))
FIRST_LOOKS = 2  # one crop each, for the box and the direction of the fingers
FIRST_EXPANSION = 1.35


@dataclass(frozen=True)
class TeacherLabels:
    """What the crops of each picture say together.

    joints2d: px of the picture. joints: mm along the picture's own axes (OpenCV: x right, y down, z forward;
    `geometry.mirror_points` makes a right hand of a left one), from the joints' own mean. spread2d (px),
    spread (mm): root mean square distance of the crops' answers from their mean. presence, side: mean
    probabilities that there is a hand, and that it is a right one.
    """

    joints2d: Float[Tensor, "n 21 2"]
    joints: Float[Tensor, "n 21 3"]
    spread2d: Float[Tensor, "n 21"]
    spread: Float[Tensor, "n 21"]
    presence: Float[Tensor, "n"]
    side: Float[Tensor, "n"]


class Teacher:
    """Looks at hands through four crops each (`CROPS`): as they are and mirrored, turned 15 degrees either
    way from upright, with two margins around the hand. Which way is upright, and the bounds of the joints,
    two looks before find out.

    network: gives HandLandmarks of crops; None: the full one that comes with the package. batch_size:
    pictures, and so crops, in a pass.
    """

    def __init__(
        self,
        network: nn.Module | None = None,
        *,
        device: str | torch.device = "cpu",
        batch_size: int = 32,
    ):
        self.network = (network or HandLandmarkNetwork.load()).to(device).eval()
        self.device, self.batch_size = torch.device(device), batch_size

    @torch.no_grad()
    def label(
        self, pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], box: Float[Tensor, "n 4"]
    ) -> TeacherLabels:
        """The hand in each RGB picture, whose box (xyxy px) bounds it, roughly. Raises ValueError unless each
        picture has a box and there is one."""
        if not 0 < len(pictures) == len(box):
            raise ValueError(f"{len(pictures)} pictures and {len(box)} boxes: give each picture one box")
        parts = [
            self._label(pictures[first : first + self.batch_size], box[first : first + self.batch_size])
            for first in range(0, len(pictures), self.batch_size)
        ]
        return TeacherLabels(*(torch.cat(values) for values in zip(*parts)))

    def _label(self, pictures: Sequence[np.ndarray], box: Tensor) -> tuple[Tensor, ...]:
        """The fields of TeacherLabels, of so many pictures as a pass takes."""
        upward = torch.zeros(len(box), dtype=torch.float64)  # the fingers' direction, clockwise from up
        for _ in range(FIRST_LOOKS):
            joints2d = self._look(pictures, box, False, -upward, FIRST_EXPANSION)[0]
            upward = fingers_angle(joints2d.double())
            box = _turned_bounds(joints2d.double(), upward)
        seen = []
        for mirror, roll, expansion in CROPS:
            turn = (upward if mirror else -upward) + math.radians(roll)
            seen.append(self._look(pictures, box, mirror, turn, expansion))
        joints2d, joints, presence, side = map(torch.stack, zip(*seen))
        (joints2d, spread2d), (joints, spread) = mean_and_spread(joints2d), mean_and_spread(joints)
        return joints2d, joints, spread2d, spread, presence.mean(0), side.mean(0)

    def _look(
        self, pictures: Sequence[np.ndarray], box: Tensor, mirror: bool, turn: Tensor, expansion: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One crop of each picture, turned clockwise by `turn` [n] radians: joints2d, joints, presence and
        side, as of the picture itself."""
        count = len(pictures)
        draw = ViewDraw(
            rotation=rotation_about_z(turn),
            scale=torch.ones(count).double(),
            shift=torch.zeros(count, 2).double(),
            photometric=None,
            mirror=mirror,
            frame=np.arange(count),
        )
        width = torch.tensor([picture.shape[1] for picture in pictures])
        # A turn is the same about any point, for the crop is centred afterwards.
        camera = torch.ones(count, 2), torch.zeros(count, 2)
        view = View(SIZE, expansion)
        placement = view.place(draw, width, *camera, box, is_right=True)
        return _as_in_picture(
            self.network(view.warp(list(pictures), placement, draw).to(self.device)), placement
        )


def _as_in_picture(seen: HandLandmarks, placement: Placement) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mirror and roll undone."""
    screen = seen.screen[..., :2].cpu().double()
    joints2d = apply_homography(placement.homography.inverse(), screen).float()
    joints = (seen.world - seen.world.mean(dim=1, keepdim=True)).cpu() @ placement.rotation.float()
    side = seen.side.cpu()
    if placement.mirrored:
        joints, side = mirror_points(joints), 1 - side
    return joints2d, joints, seen.presence.cpu(), side


def _turned_bounds(joints2d: Float[Tensor, "n 21 2"], upward: Float[Tensor, "n"]) -> Float[Tensor, "n 4"]:
    """Squares with the centre and the longer edge of the joints' bounds along the hands' own directions."""
    axes = rotation_about_z(upward)[:, :2, :2]
    along = joints2d @ axes
    low, high = along.amin(dim=1), along.amax(dim=1)
    centre = ((low + high)[:, None] / 2 @ axes.mT)[:, 0]
    reach = (high - low).amax(dim=1, keepdim=True) / 2
    return torch.cat([centre - reach, centre + reach], dim=-1)


def mean_and_spread(
    answers: Float[Tensor, "k n 21 c"],
) -> tuple[Float[Tensor, "n 21 c"], Float[Tensor, "n 21"]]:
    """Of k answers to each hand: their mean, and the root mean square distance from it."""
    mean = answers.mean(dim=0)
    return mean, (answers - mean).square().sum(dim=-1).mean(dim=0).sqrt()
