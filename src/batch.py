"""What flows through the system: a batch of clips, what is known of each clip's last frame, and what a
network says of it.

B clips, T frames, J 21 joints, V 778 vertices. Targets and predictions are [B, 1, ...]: the last frame alone,
with no T to broadcast against. Everything is in the space of the crops: right hands (left ones come
mirrored), the crop's camera, millimetres.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


class _Tensors:
    """A dataclass of tensors (optional, nested, or by name in a dictionary), which moves between devices in
    the way that accelerate expects of a batch."""

    def to(self, *args, **kwargs):
        """A copy with every tensor moved by Tensor.to."""
        return self.each(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self):
        """A copy in memory from which a GPU takes it while the process goes on (DataLoader asks for it by
        this name)."""
        return self.each(Tensor.pin_memory)

    def each(self, change: Callable[[Tensor], Tensor]):
        """A copy with every tensor changed. One value expanded, which takes no memory (the pictures of cached
        tokens), stays that."""

        def changed(tensor):
            if tensor.numel() > 1 and not any(tensor.stride()):
                return change(tensor[(slice(1),) * tensor.ndim]).expand(tensor.shape)
            return change(tensor)

        return _mapped(self, changed)

    def __getitem__(self, index):
        """The same, for some of the clips: `index` acts on the first axis of every tensor."""
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
class ClipBatch(_Tensors):
    """A batch of clips, cropped. `frame_mask` is False where a history shorter than T was filled up (by
    repeating its first frame)."""

    image: UInt8[Tensor, "b t 3 h w"]  # RGB; the network normalises
    focal: Float[Tensor, "b t 2"]  # px of the crop
    princpt: Float[Tensor, "b t 2"]
    time: Float[Tensor, "b t"]  # s, relative to the last frame (<= 0)
    frame_mask: Bool[Tensor, "b t"]
    is_right: Bool[Tensor, "b"]  # the side in the original picture
    row: Int[Tensor, "b"]  # row of the last frame in its table; -1 where there is none
    target: HandTarget | None = None
    previous: Int[Tensor, "b"] | None = (
        None  # place in this batch of the clip that ends one frame earlier in the same view; -1: not here;
    )
    # None: no clip's is. The loader says so, for to ask a tensor is to wait for its device
    frame: Int[Tensor, "b t"] | None = (
        None  # frames with one number are one crop, which clips share; None: nothing is shared
    )
    shows_right: Bool[Tensor, "b"] | None = (
        None  # False: training sees the other side's hand, of which nothing is labelled; None: all do
    )

    @property
    def size(self) -> int:
        """Crop edge in pixels (crops are square)."""
        height, width = self.image.shape[-2:]
        assert height == width, f"crops are square, got {height} x {width}"
        return width

    def last_frame(self) -> "ClipBatch":
        """The same clips without history: T = 1, what Stage 1 sees."""
        cut = {
            name: getattr(self, name)[:, -1:] for name in ("image", "focal", "princpt", "time", "frame_mask")
        }
        kept = {
            name: getattr(self, name) for name in ("is_right", "row", "previous", "target", "shows_right")
        }
        return ClipBatch(**cut, **kept)


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
