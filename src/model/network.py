"""The contract between a network and the rest of the system: whatever trains, validates, resumes, evaluates,
predicts or examines a network asks it for what stands here, and for nothing else.

A new network is a subclass of `Network`, its losses, a line in registry.py and a configuration.
"""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from tempohand.batch import ClipBatch, Frames, Term
from tempohand.hand.layer import HandLayer
from tempohand.model.hub import PretrainedMixin
from tempohand.model.weights import load_weights, of_network

TOKEN_MODES = ("cached", "online")
# Classes of layers that are alike and many: timm's blocks, and our own.
REPEATED = ("Block", "CrossBlock", "QueryBlock", "EvaBlock")


class Crop(NamedTuple):
    """The crops that a network takes: `height` x `width` px, in which the square around the hand, `expansion`
    times as wide as the longer edge of its box, fills the shorter edge (data/view.py)."""

    height: int
    width: int
    expansion: float

    @classmethod
    def of(cls, network: Mapping) -> "Crop":
        """From a network's settings: `size`, the edge of square crops or [height, width], and `expansion`."""
        size = network["size"]
        height, width = (size, size) if isinstance(size, int) else size
        return cls(height, width, network["expansion"])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), px."""
        return self.height, self.width

    @property
    def edge(self) -> int:
        """Of a square crop, px. Raises ValueError for another one."""
        if self.height != self.width:
            raise ValueError(
                f"network.size={list(self.size)}: this network takes square crops, give one edge"
            )
        return self.height


@runtime_checkable
class FrameFeatures(Protocol):
    """What a network finds in frames."""

    def packed(self) -> Float[Tensor, "*batch f"]:
        """As one vector a frame: `Frames.features`, which caches and streams keep."""
        ...


class Network(PretrainedMixin, nn.Module):
    """A network of the training loop: network(batch) predicts each clip's last frame, and
    network.criterion(prediction, batch) is what is minimised.

    num_frame: frames of a clip. size, expansion: of its crops, as `Crop.of` takes them. These three are
    settings of every network.
    """

    hand: HandLayer  # the hand model that makes its hands, of a network that gives hands

    title: ClassVar[str] = "network"  # in messages
    stage: ClassVar[int] = 1  # 2: stands on a frozen network of stage 1, and cannot begin without its weights
    # What it takes of a frame besides the camera: fields of `Frames`. "depth" and "mask" are None in batches
    # from a table or a stream without; where some frames have them, the others' are unknown (0, False).
    inputs: ClassVar[tuple[str, ...]] = ("image",)
    prediction: ClassVar[type]  # the class of what it gives; evaluation/validation.py scores by this class
    best_by: ClassVar[str | None] = None  # the score that chooses its best checkpoint; None: by its class
    terms: ClassVar[Mapping[str, str]]  # every loss term that there may be -> the labels that switch it on
    # Settings that belong to the weights: they come with them from a checkpoint of the same kind of network.
    inherited: ClassVar[tuple[str, ...]] = ("size", "expansion")
    # Settings (dotted names) that say which files the first weights come from, and nothing else.
    weight_files: ClassVar[tuple[str, ...]] = ()
    # Settings that say how it learns: a network that is loaded for use has their defaults.
    learning: ClassVar[tuple[str, ...]] = ()

    def __init__(self, num_frame: int, size: int | list[int] | tuple[int, int], expansion: float):
        super().__init__()
        self.check_num_frame(num_frame)
        self.num_frame = num_frame
        self.crop = Crop.of({"size": size, "expansion": expansion})
        self.needed: tuple[str, ...] = ()  # of depth and mask, what it is of no use without

    # ----- settings -----------------------------------------------------------------------------------------
    @classmethod
    def check(cls, settings: dict) -> None:
        """Refuses a run's settings (the whole configuration) that contradict each other, before anything is
        read. Raises ValueError."""
        cls.check_num_frame(settings["network"]["num_frame"])
        mode = settings["tokens"]["mode"]
        if mode not in TOKEN_MODES or (mode == "cached" and not cls.has_frozen_part(settings["network"])):
            raise ValueError(
                f"tokens.mode={mode}: a network with a frozen part takes tokens=cached or tokens=online, "
                f"a {cls.title} with these settings, which trains what makes tokens, online"
            )

    @classmethod
    def demands(cls, network: dict) -> tuple[str, ...]:
        """Of `inputs` those that a table has to hold: all but depth and mask, and these where the setting of
        their name is `required`."""
        return tuple(
            name for name in cls.inputs if name not in ("depth", "mask") or network.get(name) == "required"
        )

    @classmethod
    def check_num_frame(cls, num_frame: int) -> None:
        """Raises ValueError for clips that are not of the stage: Stage 1 sees 1 frame, Stage 2 several."""
        if (num_frame == 1) != (cls.stage == 1):
            takes = "1 frame" if cls.stage == 1 else "several frames"
            raise ValueError(
                f"network.num_frame={num_frame} contradicts Stage {cls.stage}, where the {cls.title} sees "
                f"{takes}: use a stage{3 - cls.stage}-* config"
            )

    @classmethod
    def check_inherited(cls, settings: dict) -> None:
        """The same, of settings that may have come with weights. Raises ValueError."""
        mirror = settings["view"]["augmentation"]["mirror"]
        if mirror and not cls.learns_sides(settings["network"]):
            raise ValueError(
                f"view.augmentation.mirror={mirror} shows the other side's hands, from which a {cls.title} "
                "with these settings learns nothing: set it to 0"
            )

    @classmethod
    def learns_sides(cls, network: dict) -> bool:
        """Whether a network of these settings has something to learn from the other side's hands."""
        return False

    # ----- training -----------------------------------------------------------------------------------------
    @abstractmethod
    def forward(self, batch: ClipBatch) -> object:
        """What the network says of each clip's last frame, an instance of `prediction`."""

    @abstractmethod
    def criterion(self, prediction: Any, batch: ClipBatch) -> dict[str, Term]:
        """The unreduced loss terms that this batch has, by name; `terms` has all of the names."""

    def load_pretrained(self, path: str | Path) -> list[str]:
        """Begins with the weights of another network of the same kind (a checkpoint directory, a .safetensors
        or a torch file, under any prefix); returns lines saying what was taken.

        Raises ValueError naming what differs when a weight is missing, unknown or of another shape,
        FileNotFoundError when there is no such file.
        """
        return self.load_all(load_weights(path), path)

    def load_all(self, weights: dict[str, Tensor], path: str | Path) -> list[str]:
        """`load_pretrained`, of the tensors that were read from `path`."""
        own = self.state_dict()
        given, prefix = of_network(weights, own, path)
        wrong = sorted(own.keys() ^ given.keys())
        wrong = wrong or [name for name in own if own[name].shape != given[name].shape]
        if wrong:
            raise ValueError(
                f"'{path}' does not fit this {self.title}: {len(wrong)} of {len(own)} weights differ, "
                f"first {wrong[:3]}"
            )
        self.load_state_dict(given)
        under = f", under '{prefix}'" if prefix else ""
        return [f"inherited {len(own)} of {len(own)} tensors from '{path}'{under}"]

    def parts(self) -> dict[str, nn.Module]:
        """Parts that training knows by name: `backbone` learns at a rate of its own (optim.backbone_lr), and
        the log has the update ratio of each."""
        return {}

    @property
    def _no_split_modules(self) -> list[str]:
        """The classes of layers that FSDP gathers one at a time, those of `REPEATED` that are in here;
        Accelerate's transformer_based_wrap asks for them by this name."""
        return sorted({type(module).__name__ for module in self.modules()} & set(REPEATED))

    def idle(self, batch: ClipBatch) -> list[nn.Parameter]:
        """Trained parameters that this batch teaches nothing, since an optional input is missing in all of
        its frames, or in none."""
        return []

    @property
    def frozen(self) -> nn.Module | None:
        """The part that never learns: its features of frames (`encode`) can be cached."""
        return None

    @classmethod
    def has_frozen_part(cls, network: dict) -> bool:
        """Whether a network of these settings has a part that never learns (`frozen`)."""
        return False

    @classmethod
    def frozen_settings(cls, network: dict) -> dict:
        """Of a network's settings those that the frozen part's features depend on."""
        return network

    def train(self, mode: bool = True) -> "Network":
        """Frozen means frozen: that part stays in evaluation mode."""
        super().train(mode)
        if self.frozen is not None:
            self.frozen.eval()
        return self

    def set_step(self, step: int, dropout_start: int) -> None:
        """Dropout is off before optimizer step `dropout_start`: on from the start it makes a pretrained
        backbone overfit early."""
        fixed = set() if self.frozen is None else set(self.frozen.modules())
        for module in self.modules():
            if isinstance(module, nn.Dropout) and module not in fixed:
                module.train(self.training and step >= dropout_start)

    # ----- use ----------------------------------------------------------------------------------------------
    def spatial_only(self) -> "Network | None":
        """The network of single frames that is inside this one, with its modules; None: there is none."""
        return None

    @property
    def feature_dim(self) -> int | None:
        """F, of a network that sees each frame by itself: then it has `features`, `encode` and `decode`.
        None: it has not, and they raise NotImplementedError."""
        return None

    def features(self, frames: Frames) -> FrameFeatures:
        """What the network finds in each frame; of frames with features, what it has found there."""
        raise NotImplementedError

    def encode(self, frames: Frames) -> Float[Tensor, "n f"]:
        """Every frame's features, all that `forward` asks of its picture: as `Frames.features` they give the
        same prediction, from a cache or a stream."""
        return self.features(frames).packed()

    def decode(self, features: Any, batch: ClipBatch) -> object:
        """From features to the prediction: of each clip's one frame [B], in Stage 2 of all its frames [B, T]
        (`batch.index`). Of the batch it takes cameras, times and masks."""
        raise NotImplementedError

    def certainty(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n 21"] | None:
        """How surely each joint's place was seen in frames of these features (`encode`), 0 to 1; None: it
        does not say."""
        return None

    @property
    def tells_sides(self) -> bool:
        """Whether it tells a right hand from a left one: then it has `look`, which raises NotImplementedError
        otherwise."""
        return False

    def look(self, frames: Frames) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """What each crop shows: the log odds that it is a right hand, and how surely it is a hand, 0 to 1."""
        raise NotImplementedError
