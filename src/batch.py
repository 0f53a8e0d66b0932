"""What flows through the system: a batch of clips, what is known of each clip's last frame, and what a
network says of it.

B clips of T frames each, out of N different frames; J 21 joints, V 778 vertices. Targets and predictions are
[B, 1, ...]: the last frame alone, with no T to broadcast against. Everything is in the space of the crops:
right hands (left ones come mirrored), the crop's camera, millimetres.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Float64, Int, UInt8
from torch import Tensor


class _Tensors:
    """A dataclass of tensors (optional, nested, or by name in a dictionary), which moves between devices in
    the way that accelerate expects of a batch."""

    def to(self, *args, **kwargs):
        """A copy with every tensor moved by Tensor.to."""
        return _mapped(self, lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self):
        """A copy in memory from which a GPU takes it while the process goes on (DataLoader asks for it by
        this name)."""
        return _mapped(self, Tensor.pin_memory)

    def __getitem__(self, index):
        """The same, for some of the entries: `index` acts on the first axis of every tensor."""
        return _mapped(self, lambda tensor: tensor[index])


def _mapped(value, change: Callable[[Tensor], Tensor]):
    """A copy of what a batch consists of, with `change` of every tensor in it."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, _Tensors):
        return type(value)(
            **{field.name: _mapped(getattr(value, field.name), change) for field in fields(value)}
        )
    if isinstance(value, dict):
        return {name: _mapped(part, change) for name, part in value.items()}
    return value


@dataclass
class HandTarget(_Tensors):
    """Labels of each clip's last frame; a mask per kind of label."""

    joints2d: Float[Tensor, "b 1 21 2"]  # in the crop, [-0.5, 0.5]
    joints2d_mask: Bool[Tensor, "b 1 21"]
    joints: Float[Tensor, "b 1 21 3"]  # camera space, mm
    joints_mask: Bool[Tensor, "b 1 21"]
    pose: Float[Tensor, "b 1 48"]  # absolute axis-angle
    shape: Float[Tensor, "b 1 10"]
    trans: Float[Tensor, "b 1 3"]  # the wrist in camera space, mm
    hand_mask: Bool[Tensor, "b 1"]  # pose, shape and trans are known
    camera_mask: Bool[Tensor, "b 1"]  # the intrinsics are real: depth means something
    hidden: Float[Tensor, "b 1"]  # fraction of the hand that something covers; nan where unknown

    def box(self) -> tuple[Float[Tensor, "b 1 4"], Bool[Tensor, "b 1"]]:
        """Bounds of the joints in the crop (xyxy, [-0.5, 0.5] inside it), and where they are known: where
        every joint is. 0 elsewhere."""
        known = self.joints2d_mask.all(dim=-1)
        joints2d = self.joints2d.where(known[..., None, None], 0.0)
        return torch.cat([joints2d.amin(dim=-2), joints2d.amax(dim=-2)], dim=-1), known


@dataclass
class Frames(_Tensors):
    """N different frames: of each its crop, as a picture or as what a frozen network has made of it already
    (`features`), with the crop's camera."""

    size: tuple[int, int]  # height and width of the crops, px
    focal: Float[Tensor, "n 2"]  # px of the crop
    princpt: Float[Tensor, "n 2"]
    time: Float64[Tensor, "n"]  # s, by a clock that the frames of a clip share
    image: UInt8[Tensor, "n 3 h w"] | None = None  # RGB; the network normalises
    features: Float[Tensor, "n f"] | None = None  # in place of the picture: the network's, packed
    depth: Float[Tensor, "n 1 h w"] | None = None  # mm; 0 where unknown
    mask: Bool[Tensor, "n 1 h w"] | None = None  # where the hand is seen

    def __len__(self) -> int:
        return len(self.time)

    def without(self, names: Collection[str]) -> "Frames":
        """The frames as a camera sees them that lacks `image` (one grey everywhere), `depth` or `mask`."""
        image = self.image
        if "image" in names and image is not None:
            image = torch.full_like(image, 128)
        hidden = {name: None for name in ("depth", "mask") if name in names}
        return replace(self, image=image, **hidden)


@dataclass
class ClipBatch(_Tensors):
    """A batch of clips: B x T places among N frames, each of which is there once, however many clips show it.

    The first B frames are the clips' last ones, in the order of the clips: `index[:, -1]` is 0, 1, ..., B-1.
    The frames from B on are in histories only. `frame_mask` is False where a history shorter than T was
    filled up (by repeating its first frame).
    """

    frames: Frames
    index: Int[Tensor, "b t"]  # oldest frame first
    frame_mask: Bool[Tensor, "b t"]
    is_right: Bool[Tensor, "b"]  # the side in the original picture
    row: Int[Tensor, "b"]  # row of the last frame in its table; -1 where there is none
    target: HandTarget | None = None
    # Place in this batch of the clip that ends one frame earlier in the same view; -1: not here. None: no
    # clip's is. The loader says so, for to ask a tensor is to wait for its device.
    previous: Int[Tensor, "b"] | None = None
    # False: training sees the other side's hand, of which nothing is labelled; None: all do.
    shows_right: Bool[Tensor, "b"] | None = None

    def __len__(self) -> int:
        """How many clips."""
        return len(self.row)

    @property
    def labels(self) -> HandTarget:
        """`target`, of a batch that has one."""
        assert self.target is not None, "a batch for learning or scoring has labels"
        return self.target

    @property
    def num_frame(self) -> int:
        """Frames of a clip."""
        return self.index.shape[1]

    @property
    def edge(self) -> int:
        """The crops' shorter edge, px: that of the square around the hand."""
        return min(self.frames.size)

    @property
    def focal(self) -> Float[Tensor, "b t 2"]:
        """Of every frame of every clip, px of the crop."""
        return self.frames.focal[self.index]

    @property
    def princpt(self) -> Float[Tensor, "b t 2"]:
        """Of every frame of every clip, px of the crop."""
        return self.frames.princpt[self.index]

    @property
    def time(self) -> Float[Tensor, "b t"]:
        """Of every frame of every clip, s relative to the clip's last frame (<= 0)."""
        time = self.frames.time[self.index]
        return (time - time[:, -1:]).float()  # float64 before: float32 loses milliseconds within hours

    def last_frame(self) -> "ClipBatch":
        """The same clips without history: T = 1, what Stage 1 sees."""
        count = self.row.shape[0]  # as an exporter follows it
        return replace(
            self, frames=self.frames[:count], index=self.index[:, -1:], frame_mask=self.frame_mask[:, -1:]
        )

    def __getitem__(self, clips) -> "ClipBatch":
        """Some of the clips, with the frames that they show. A GPU is waited for."""
        order, index = frames_in_order(self.index[clips])
        chosen = torch.arange(len(self), device=self.index.device)[clips]
        previous = self.previous
        if previous is not None:
            place = torch.full_like(self.row, -1)
            place[chosen] = torch.arange(len(chosen), device=place.device)
            before = previous[chosen]
            previous = torch.where(before >= 0, place[before.clamp_min(0)], -1)
        return ClipBatch(
            frames=self.frames[order],
            index=index,
            frame_mask=self.frame_mask[clips],
            is_right=self.is_right[clips],
            row=self.row[clips],
            target=None if self.target is None else self.target[clips],
            previous=previous,
            shows_right=None if self.shows_right is None else self.shows_right[clips],
        )


def frames_in_order(index: Int[Tensor, "b t"]) -> tuple[Int[Tensor, "n"], Int[Tensor, "b t"]]:
    """For clips that are places in a list of frames: the places of the frames that a `ClipBatch` of them
    holds, in its order (the clips' last ones, then the others, ascending), and the clips as places there."""
    last = index[:, -1]
    history = index[~torch.isin(index, last)].unique()
    order = torch.cat([last, history])
    place = torch.empty(int(order.max()) + 1, dtype=torch.long, device=index.device)
    place[order] = torch.arange(len(order), device=index.device)
    index = place[index]
    index[:, -1] = torch.arange(len(last), device=index.device)  # where two clips end at one frame, too
    return order, index


@dataclass
class HandPrediction(_Tensors):
    """What a network says of each clip's last frame, in the crop's camera space."""

    pose: Float[Tensor, "b 1 48"]  # absolute axis-angle
    rotation: Float[Tensor, "b 1 16 3 3"]  # the same as matrices
    shape: Float[Tensor, "b 1 10"]
    trans: Float[Tensor, "b 1 3"]  # the wrist, mm
    joints: Float[Tensor, "b 1 21 3"]  # mm
    vertices: Float[Tensor, "b 1 778 3"]  # mm
    joints2d: Float[Tensor, "b 1 21 2"]  # [-0.5, 0.5]
    terms: dict[str, Tensor] | None = None  # what a network's own criterion needs besides

    def detach(self) -> "HandPrediction":
        """Without graph and without the criterion's terms."""
        kept = {
            field.name: getattr(self, field.name).detach() for field in fields(self) if field.name != "terms"
        }
        return HandPrediction(**kept)


@dataclass
class BoxPrediction(_Tensors):
    """What a hand finder says of each cell of a G x G raster over a picture: whether a hand's centre lies in
    it, and that hand's box."""

    logits: Float[Tensor, "b 1 2 g g"]  # of a right hand and of a left one, each by itself
    box: Float[Tensor, "b 1 4 g g"]  # xyxy, bounds of the 21 joints; [-0.5, 0.5] inside the picture
    terms: dict[str, Tensor] | None = None  # what the network's own criterion needs besides


@dataclass(frozen=True)
class Term:
    """An unreduced loss and where it counts. The mask has the value's leading axes.

    A term that cannot represent every label (a heat map ends at the crop's edge) says where there is one at
    all: `known` minus `mask` is what lies out of its range.
    """

    value: Float[Tensor, "..."]
    mask: Bool[Tensor, "..."]
    known: Bool[Tensor, "..."] | None = None

    def __post_init__(self):
        assert self.value.shape[: self.mask.ndim] == self.mask.shape, (
            f"value {tuple(self.value.shape)} against mask {tuple(self.mask.shape)}"
        )
