"""A trained network on hands over time: one backbone pass per hand and frame, a ring of the last tokens per hand."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tempohand import geometry
from tempohand.batch import ClipBatch, HandPrediction
from tempohand.data.view import View


@dataclass(frozen=True)
class HandInput:
    """One hand in one frame: where it is and which camera sees it. `starts`: no earlier frame belongs to this hand's history."""

    frame: int
    time: float  # s
    hand: int  # id
    is_right: bool
    starts: bool
    image: UInt8[np.ndarray, "h w 3"]  # the whole picture, RGB
    box: Float[np.ndarray, "4"]  # xyxy px, bounds of the 21 joints
    focal: Float[np.ndarray, "2"]  # px
    princpt: Float[np.ndarray, "2"]  # px


@dataclass(frozen=True)
class HandEstimate:
    """What the network says of one hand in one frame, in the picture's own camera space (OpenCV, mm) and pixels; a left hand as a left hand."""

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


@dataclass(frozen=True)
class _Seen:
    """What the ring keeps of a frame."""

    token: Tensor
    focal: Tensor
    princpt: Tensor
    time: float


class Predictor:
    """Runs `network` (model/registry.py's load_network) over hands that come in the order of time.

    Crops are those of evaluation: the network's own `config["view"]`. Every frame is encoded once; its token is then decoded together with
    those of the same hand's previous frames, up to `network.num_frame` in all, at their real times: network(batch) of that clip.
    """

    def __init__(self, network, *, device: str | torch.device = "cpu", batch_size: int = 32):
        if batch_size < 1:
            raise ValueError(f"--batch-size is at least 1, not {batch_size}")
        self.network, self.device, self.batch_size = network.to(device).eval(), torch.device(device), batch_size
        view = network.config.get("view", {})
        if not {"size", "expansion"} <= view.keys():
            raise ValueError("the checkpoint's config.json does not say the view (size, expansion) that its network was trained with")
        self.view = View(view["size"], view["expansion"])
        self.reset()

    def reset(self) -> None:
        """Forgets every hand's history."""
        self._rings: dict[int, deque[_Seen]] = {}

    @torch.inference_mode()
    def predict(self, hands: Sequence[HandInput]) -> list[HandEstimate]:
        """One estimate per hand, in the order given: any number of frames and hands, in the order of time, continuing the calls before.

        Raises ValueError when the network's output is not finite.
        """
        estimates = []
        for first in range(0, len(hands), self.batch_size):
            part = hands[first : first + self.batch_size]
            crops = self._crop(part)
            tokens = self.network.encode(crops)
            windows = [self._extend(hand, token, crops, place) for place, (hand, token) in enumerate(zip(part, tokens))]
            batch, context = self._assemble(part, windows)
            prediction = self.network.decode(context, batch).detach().to("cpu")
            lengths = [len(window) for window in windows]
            estimates += [self._estimate(hand, prediction, batch, place, lengths[place]) for place, hand in enumerate(part)]
        return estimates

    def _crop(self, hands: Sequence[HandInput]) -> ClipBatch:
        """Every hand as a clip of one frame."""
        images, focals, princpts = [], [], []
        for hand in hands:
            camera = (torch.from_numpy(np.array(value, np.float32))[None] for value in (hand.focal, hand.princpt, hand.box))
            image, focal, princpt = self.view.crop([hand.image], *camera, hand.is_right)
            images.append(image)
            focals.append(focal)
            princpts.append(princpt)
        count = len(hands)
        return ClipBatch(
            image=torch.stack(images),
            focal=torch.stack(focals),
            princpt=torch.stack(princpts),
            time=torch.zeros(count, 1),
            frame_mask=torch.ones(count, 1, dtype=torch.bool),
            is_right=torch.tensor([hand.is_right for hand in hands]),
            row=torch.full((count,), -1),
            previous=torch.full((count,), -1),
        ).to(self.device)

    def _extend(self, hand: HandInput, token: Tensor, crops: ClipBatch, place: int) -> list[_Seen]:
        """The hand's history with this frame, oldest first."""
        if hand.starts or hand.hand not in self._rings:
            self._rings[hand.hand] = deque(maxlen=self.network.num_frame)
        ring = self._rings[hand.hand]
        ring.append(_Seen(token[0], crops.focal[place, 0], crops.princpt[place, 0], hand.time))
        return list(ring)

    def _assemble(self, hands: Sequence[HandInput], windows: list[list[_Seen]]) -> tuple[ClipBatch, Tensor]:
        """Clips of num_frame frames and their tokens; short histories are filled up by their first frame and masked, as the loader does."""
        span = self.network.num_frame
        filled = [[window[0]] * (span - len(window)) + window for window in windows]
        # Relative to the last frame while they are Python's float64: float32 would lose milliseconds within hours.
        time = torch.tensor([[seen.time - window[-1].time for seen in window] for window in filled], dtype=torch.float32)
        mask = torch.tensor([[place >= span - len(window) for place in range(span)] for window in windows])
        # decode asks for the crop's size and never for its pixels: an image without memory.
        image = torch.zeros(1, dtype=torch.uint8, device=self.device).expand(len(hands), span, 3, self.view.size, self.view.size)
        batch = ClipBatch(
            image=image,
            focal=_stack(filled, "focal"),
            princpt=_stack(filled, "princpt"),
            time=time.to(self.device),
            frame_mask=mask.to(self.device),
            is_right=torch.tensor([hand.is_right for hand in hands], device=self.device),
            row=torch.full((len(hands),), -1, device=self.device),
            previous=torch.full((len(hands),), -1, device=self.device),
        )
        return batch, _stack(filled, "token")

    def _estimate(self, hand: HandInput, prediction: HandPrediction, batch: ClipBatch, place: int, history: int) -> HandEstimate:
        """One hand's prediction in the picture's camera space and pixels."""
        one = {name: getattr(prediction, name)[place, 0].float() for name in ("pose", "shape", "trans", "joints", "vertices", "joints2d")}
        if not all(value.isfinite().all() for value in one.values()):
            raise ValueError(
                f"the network's output for hand {hand.hand} in frame {hand.frame} is not finite: is the checkpoint a diverged run?"
            )
        # A crop keeps the camera space (mirrored for a left hand), so a crop pixel and a picture pixel are one ray.
        focal, princpt = batch.focal[place, -1].cpu().double(), batch.princpt[place, -1].cpu().double()
        pixels = geometry.denormalise_pixels(one["joints2d"].double(), (self.view.size, self.view.size))
        rays = (pixels - princpt) / focal
        if not hand.is_right:
            rays = rays * rays.new_tensor([-1.0, 1.0])
            one["pose"] = geometry.mirror_pose(one["pose"])
            for name in ("trans", "joints", "vertices"):
                one[name] = geometry.mirror_points(one[name])
        joints2d = rays.numpy() * np.asarray(hand.focal) + np.asarray(hand.princpt)
        return HandEstimate(
            frame=hand.frame,
            time=hand.time,
            hand=hand.hand,
            is_right=hand.is_right,
            history=history,
            box=np.asarray(hand.box, np.float32),
            focal=np.asarray(hand.focal, np.float32),
            princpt=np.asarray(hand.princpt, np.float32),
            image_size=(hand.image.shape[1], hand.image.shape[0]),
            joints2d=joints2d.astype(np.float32),
            **{name: one[name].numpy() for name in ("pose", "shape", "trans", "joints", "vertices")},
        )


def _stack(windows: list[list[_Seen]], name: str) -> Tensor:
    return torch.stack([torch.stack([getattr(seen, name) for seen in window]) for window in windows])
