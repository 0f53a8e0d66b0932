"""A trained network on hands over time: one backbone pass per hand and frame, the features of each hand's
last frames kept."""

import math
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tempohand import geometry
from tempohand.assemble.data import plain_view
from tempohand.batch import ClipBatch, Frames, HandPrediction, frames_in_order
from tempohand.data.clips import MAX_GAP_S, join_clips
from tempohand.data.depth_view import depth_crops
from tempohand.hand.pose import global_rotations, pose_to_rotmat
from tempohand.inference.history import Seen, clip_of, follow
from tempohand.inference.inputs import (
    CheckedInput,
    HandInput,
    Number,
    Numbers,
    Picture,
    check_input,
)
from tempohand.model.confidence import Calibration

MOST_HANDS = 256  # whose histories are kept; more are nowhere within the time that a history outlasts
_VALUES = ("pose", "shape", "trans", "joints", "vertices", "joints2d")


@dataclass(frozen=True)
class HandEstimate:
    """What the network says of one hand in one frame, in the picture's own camera space (OpenCV, mm) and
    pixels; a left hand as a left hand."""

    frame: int
    time: float
    hand: int
    is_right: bool
    history: int  # frames that the estimate rests on, 1 to num_frame
    box: Float[np.ndarray, "4"]
    focal: Float[np.ndarray, "2"]
    princpt: Float[np.ndarray, "2"]
    image_size: tuple[int, int]  # (W, H)
    pose: Float[np.ndarray, "48"]  # absolute axis-angle
    shape: Float[np.ndarray, "10"]
    trans: Float[np.ndarray, "3"]  # the wrist
    joints: Float[np.ndarray, "21 3"]
    vertices: Float[np.ndarray, "778 3"]
    joints2d: Float[np.ndarray, "21 2"]  # px
    # Of each joint: that it lies within a tenth of the hand's box of its true place in the picture, 0 to 1;
    # nan where the network was not calibrated (`tempohand calibrate`).
    confidence: Float[np.ndarray, "21"] = field(default_factory=lambda: np.full(21, np.nan, np.float32))

    @property
    def rotations(self) -> Float[np.ndarray, "16 3 3"]:
        """Of MANO's joints against camera space: each takes the hand model's axes at rest there. With their
        places (`joints`) they are the joints' transforms."""
        pose = torch.from_numpy(self.pose).double()
        return global_rotations(pose_to_rotmat(pose)).float().numpy()


@dataclass(frozen=True)
class Look:
    """What a network sees in a box at once, without a history: model/posenet.py's `look`."""

    right_logit: float  # the log odds that it is a right hand
    certainty: float  # that it is a hand, 0 to 1


class StreamingPredictor:
    """Runs `network` (model/registry.py's load_network) over hands that come in the order of time, live or
    from a file.

    Crops are those of evaluation: the network's own. Every frame is encoded once; its
    features are then decoded together with those of the same hand's previous frames (data/clips.py's
    `lookback` and inference/history.py say which), up to `network.num_frame` in all, at their real times:
    network(batch) of that clip. max_gap: seconds without a hand after which its history begins anew.

    Every hand has its own clock, so no other hand's frame tells that one is gone: the MOST_HANDS that were
    pushed last are kept, unless `keep` or `reset` says that they may go. Safe to share among threads: calls
    take turns, and hands whose numbers differ have nothing to do with each other, as in one thread.
    """

    def __init__(
        self,
        network,
        *,
        device: str | torch.device = "cpu",
        batch_size: int = 32,
        max_gap: float | int = MAX_GAP_S,
    ):
        if batch_size < 1:
            raise ValueError(f"`batch_size` is at least 1, not {batch_size}")
        if not max_gap >= 0:
            raise ValueError(f"`max_gap` is a number of seconds from 0, not {max_gap:g}")
        self.network = network.to(device).eval()
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.max_gap = max_gap
        self.view = plain_view(network.crop)
        self.calibration = Calibration.of(network.config)
        self._histories: dict[int, tuple[Seen, ...]] = {}  # the hand that was pushed last stands last
        self._lock = threading.RLock()

    @property
    def state(self) -> dict[int, tuple[Seen, ...]]:
        """Every hand's history."""
        return self._histories

    @state.setter
    def state(self, state: dict[int, tuple[Seen, ...]]) -> None:
        with self._lock:
            self._histories = state

    def reset(self, hand: int | None = None) -> None:
        """Forgets one hand's history, or every hand's."""
        with self._lock:
            if hand is None:
                self._histories = {}
            else:
                self._histories.pop(hand, None)

    def keep(self, hands: Collection[int]) -> None:
        """Forgets every hand but these."""
        with self._lock:
            self._histories = {hand: history for hand, history in self._histories.items() if hand in hands}

    def push(self, image: Picture, box: Numbers, time: Number, **more: object) -> HandEstimate:
        """The next frame of one hand: HandInput's values in (`more`: `hand`, `is_right`, `focal`, `princpt`,
        `depth`, ...), its estimate out. Raises what `push_all` raises."""
        return self.push_all([HandInput(image=image, box=box, time=time, **more)])[0]

    @torch.inference_mode()
    def push_all(self, hands: Sequence[HandInput]) -> list[HandEstimate]:
        """One estimate per hand, in the order given: a frame's hands, or any number of frames, in the order
        of time.

        Raises ValueError for input without meaning (a hand's time that runs back, a box that is empty or
        outside the picture, a picture that is not uint8 RGB, a camera that none has, depth that is not the
        picture's or that the network does not take) and TypeError for values of another kind (no number, no
        side), before anything is predicted, and ValueError when the network's output is not finite. After an
        error the histories of this call's hands are as before the pass (of up to batch_size hands) that
        failed.
        """
        with self._lock:
            return self._push_all(hands)

    def _push_all(self, hands: Sequence[HandInput]) -> list[HandEstimate]:
        checked, estimates = self._check(hands), []
        for first in range(0, len(checked), self.batch_size):
            part = checked[first : first + self.batch_size]
            crops = self._crop(part)
            given = self._given(crops.to(self.device))
            histories, current = dict(self._histories), []
            cameras = (crops.focal.numpy(), crops.princpt.numpy())
            for place, (hand, focal, princpt) in enumerate(zip(part, *cameras)):
                rays = (hand.box - np.tile(hand.princpt, 2)) / np.tile(hand.focal, 2)
                one = {name: values[place] for name, values in given.items()}
                seen = Seen(one, focal, princpt, float(hand.source.time), hand.source.is_right, rays)
                before = histories.pop(hand.source.hand, ())
                before = () if hand.source.starts else before
                histories[hand.source.hand] = follow(before, seen, self.network.num_frame, self.max_gap)
                current.append(histories[hand.source.hand])
            clips = self._assemble(current)
            lengths = clips.frame_mask.sum(dim=1).tolist()
            prediction = self.network(clips.to(self.device))
            certainty = self.network.certainty(given["features"]) if "features" in given else None
            estimates += self._estimate(part, current, lengths, prediction, certainty)
            most = max(MOST_HANDS, len({hand.source.hand for hand in checked}))
            self._histories = dict(list(histories.items())[-most:])
        return estimates

    def _given(self, crops: Frames) -> dict[str, Tensor]:
        """What is kept of frames: what the network makes of them once, or its inputs where it makes
        nothing."""
        if self.network.feature_dim is not None:
            return {"features": self.network.encode(crops)}
        inputs = {name: getattr(crops, name) for name in self.network.inputs}
        return {name: values for name, values in inputs.items() if values is not None}

    @property
    def takes_depth(self) -> bool:
        """Whether the network looks at depth."""
        return "depth" in self.network.inputs

    @property
    def tells_sides(self) -> bool:
        """Whether the network can tell a right hand from a left one (`look`)."""
        return self.network.tells_sides

    @torch.inference_mode()
    def look(self, hand: HandInput) -> Look:
        """What is in a hand's box, whatever its `is_right`; no history has a part in it, or is changed.

        Raises what `push_all` raises, and ValueError for a network without a side head.
        """
        as_right = replace(hand, is_right=True, starts=True)
        with self._lock:
            said = self.network.look(self._crop(self._check([as_right])).to(self.device))
            return Look(*torch.cat([*said]).tolist())

    def _check(self, hands: Sequence[HandInput]) -> list[CheckedInput]:
        """The hands with their cameras. Raises ValueError or TypeError in one line that says which hand and
        frame."""
        latest = {hand: history[-1].time for hand, history in self._histories.items()}
        checked = []
        for given in hands:
            one = check_input(given)
            hand = one.source
            if hand.depth is None and "depth" in self.network.needed:
                raise ValueError(
                    f"hand {hand.hand} in frame {hand.frame}: the {self.network.title} was trained to have "
                    "`depth` in every frame, and there is none"
                )
            if hand.depth is not None and not self.takes_depth:
                raise ValueError(
                    f"hand {hand.hand} in frame {hand.frame}: `depth` is given, but the {self.network.title} "
                    "takes none: leave it out, or load a network that takes it"
                )
            if not hand.starts and hand.time < latest.get(hand.hand, -math.inf):
                raise ValueError(
                    f"hand {hand.hand} in frame {hand.frame}: time runs back, from "
                    f"{latest[hand.hand]:g} s to {hand.time:g} s; reset(hand) begins a new history"
                )
            latest[hand.hand] = hand.time
            checked.append(one)
        return checked

    def _crop(self, hands: Sequence[CheckedInput]) -> Frames:
        """Every hand's crop."""
        images = []
        depths = []
        places = []
        measured = any(hand.source.depth is not None for hand in hands)
        for hand in hands:
            camera = (
                torch.from_numpy(value.astype(np.float32))[None]
                for value in (hand.focal, hand.princpt, hand.box)
            )
            image, placement = self.view.crop([hand.source.image], *camera, hand.source.is_right)
            images.append(image)
            places.append(placement)
            if measured:
                depths.append(depth_crops([hand.source.depth], placement, self.view.size))
        return Frames(
            size=self.view.size,
            image=torch.cat(images),
            depth=torch.cat(depths) if measured else None,
            focal=torch.cat([placement.focal for placement in places]),
            princpt=torch.cat([placement.princpt for placement in places]),
            time=torch.tensor([float(hand.source.time) for hand in hands], dtype=torch.float64),
        )

    def _assemble(self, histories: list[tuple[Seen, ...]]) -> ClipBatch:
        """The clips at the ends of histories, of what is kept of their frames."""
        plans = [clip_of(history, self.network.num_frame) for history in histories]
        clips, mask = map(torch.from_numpy, join_clips(plans))
        order, index = frames_in_order(clips)
        seen = [history[place] for history, plan in zip(histories, plans) for place in plan.rows]
        seen = [seen[place] for place in order.tolist()]
        return ClipBatch(
            frames=Frames(
                size=self.view.size,
                **_stacked([one.given for one in seen]),
                focal=torch.from_numpy(np.stack([one.focal for one in seen])),
                princpt=torch.from_numpy(np.stack([one.princpt for one in seen])),
                time=torch.tensor([one.time for one in seen], dtype=torch.float64),
            ),
            index=index,
            frame_mask=mask,
            is_right=torch.tensor([history[-1].is_right for history in histories]),
            row=torch.full((len(histories),), -1),
        )

    def _estimate(
        self,
        hands: list[CheckedInput],
        histories: list[tuple[Seen, ...]],
        lengths: list[int],
        prediction: HandPrediction,
        certainty: Float[Tensor, "n 21"] | None,
    ) -> list[HandEstimate]:
        """The predictions in the pictures' camera spaces and pixels."""
        there = {name: getattr(prediction, name)[:, 0].float() for name in _VALUES}
        if certainty is not None and self.calibration:
            there["confidence"] = certainty
        flat = torch.cat(
            [value.flatten(1) for value in there.values()], dim=1
        ).cpu()  # one copy: each waits for the device
        finite = flat.isfinite().all(dim=1).tolist()
        parts = flat.split([value[0].numel() for value in there.values()], dim=1)
        values = {name: part.reshape(there[name].shape) for name, part in zip(there, parts)}
        # A crop keeps the camera space (mirrored for a left hand), so a crop pixel and a picture pixel are
        # one ray.
        pixels = geometry.denormalise_pixels(values.pop("joints2d").double(), self.view.size[::-1]).numpy()
        if self.calibration and "confidence" in values:
            said = self.calibration(values["confidence"].numpy()).astype(np.float32)
            values["confidence"] = torch.from_numpy(said)
        estimates = []
        for place, (hand, history) in enumerate(zip(hands, histories)):
            source, one = hand.source, {name: value[place] for name, value in values.items()}
            if not finite[place]:
                raise ValueError(
                    f"the network's output for hand {source.hand} in frame {source.frame} is not finite: "
                    "is the checkpoint a diverged run?"
                )
            rays = (pixels[place] - history[-1].princpt) / history[-1].focal
            if not source.is_right:
                rays = rays * [-1.0, 1.0]
                one["pose"] = geometry.mirror_pose(one["pose"])
                for name in ("trans", "joints", "vertices"):
                    one[name] = geometry.mirror_points(one[name])
            estimates.append(
                HandEstimate(
                    frame=source.frame,
                    time=float(source.time),
                    hand=source.hand,
                    is_right=source.is_right,
                    history=lengths[place],
                    box=hand.box.astype(np.float32),
                    focal=hand.focal.astype(np.float32),
                    princpt=hand.princpt.astype(np.float32),
                    image_size=(source.image.shape[1], source.image.shape[0]),
                    joints2d=(rays * hand.focal + hand.princpt).astype(np.float32),
                    **{name: value.numpy() for name, value in one.items()},
                )
            )
        return estimates


def _stacked(frames: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """By name what any of the frames has, of all of them: zeros where a frame has none."""
    shapes = {name: value for frame in frames for name, value in frame.items()}
    return {
        name: torch.stack([frame.get(name, torch.zeros_like(value)) for frame in frames])
        for name, value in shapes.items()
    }
