"""Runs predictors over whole sequences and scores them: every row of the result sees the same frames.

Batches hold single frames in the order of their sequences and cross sequence borders, so that images that are
sequences of one frame run in full batches too. A temporal network encodes each frame once and reads its
histories from the kept tokens, as it does on live video.

Labels stay on the CPU, where everything is scored. Of the network's device a predictor asks for its joints
and vertices alone, in one copy a batch (`to_host`); what it keeps besides stays there.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tempohand.batch import ClipBatch, Frames, HandPrediction, HandTarget, frames_in_order
from tempohand.evaluation.hands import Hands, TrueHands, labels_of
from tempohand.evaluation.metrics import errors as metrics
from tempohand.evaluation.metrics.bends import finger_changes
from tempohand.evaluation.metrics.registry import FrameErrors, frame_errors
from tempohand.evaluation.scores import ScoreBoard
from tempohand.evaluation.splits import CURVE, SPLITS, curve_frames, split_frames
from tempohand.evaluation.tuning import HandFilter
from tempohand.hand.layer import HandLayer, HandOutput
from tempohand.skeleton import FINGERTIPS, NUM_JOINTS, NUM_VERTICES, WRIST

# Labelled joints that are farther than this from the hand that the labelled parameters make belong to another
# hand model.
OTHER_HAND_MODEL_MM = 5.0
# Tips are left out: their place on the mesh differs between code bases by more.
ROW = ("", "row")  # the key of the rows among what is kept of frames
_LABELS = [field.name for field in fields(HandTarget)]


@runtime_checkable
class Predictor(Protocol):
    """What is evaluated: sees batches of single frames, and speaks once a sequence is complete."""

    def observe(self, batch: ClipBatch) -> dict[str, Tensor]:
        """What to keep of each of the batch's frames, [b, ...] each. The batch is on the network's device."""
        ...

    def conclude(self, kept: dict[str, Tensor], time: Float[Tensor, "n"]) -> Hands:
        """The hands of a whole sequence, on the CPU, from what was kept of its frames; under "row" their rows
        in the table. time in s."""
        ...


def encode_once(network: Any, autocast: Callable) -> Callable[[ClipBatch], Any]:
    """The features of a batch's frames by a network (model/network.py) under `autocast()`, with a memory of
    the last batch: two predictors may share it."""
    last = {}

    def encode(batch: ClipBatch) -> Any:
        if last.get("batch") is not batch:
            with autocast():
                last.update(batch=batch, encoded=network.features(batch.frames))
        return last["encoded"]

    return encode


def to_host(prediction: HandPrediction | Hands) -> Hands:
    """The hands of single frames on the CPU, by one copy: each copy waits for all that the device has to
    do."""
    points = torch.cat(
        [prediction.joints.reshape(-1, NUM_JOINTS, 3), prediction.vertices.reshape(-1, NUM_VERTICES, 3)],
        dim=1,
    )
    return Hands(*points.cpu().split([NUM_JOINTS, NUM_VERTICES], dim=1))


class PerFrame:
    """A predictor without memory: a function of a batch of single frames."""

    def __init__(self, predict: Callable[[ClipBatch], HandPrediction | Hands]):
        self.predict = predict

    def observe(self, batch: ClipBatch) -> dict[str, Tensor]:
        """The predicted joints and vertices."""
        hands = to_host(self.predict(batch))
        assert hands.vertices is not None
        return {"joints": hands.joints, "vertices": hands.vertices}

    def conclude(self, kept: dict[str, Tensor], time: Float[Tensor, "n"]) -> Hands:
        """As they were predicted."""
        return Hands(kept["joints"], kept["vertices"])


class Temporal:
    """A network over clips: `encode` gives each frame's features once, `predict` the hand at the end of each
    clip, of frames with features.

    clips(rows [n], num_frame) -> (places [n, T], real [n, T]) says which frames a sequence's clips have, as
    live (those that were left out of the evaluation are missing): of the clip that ends at each row, the
    places of its frames among the rows, and which of them are real. `watch` sees each prediction and its
    batch.
    """

    def __init__(
        self,
        encode: Callable[[ClipBatch], Tensor],
        predict: Callable[[ClipBatch], HandPrediction],
        clips: Callable,
        num_frame: int,
        chunk: int = 256,
        watch: Callable[[HandPrediction, ClipBatch], None] = lambda *_: None,
    ):
        self.encode = encode
        self.predict = predict
        self.watch = watch
        self.clips = clips
        self.num_frame = num_frame
        self.chunk = chunk

    def observe(self, batch: ClipBatch) -> dict[str, Tensor]:
        """The frame's features, camera and labels; the crop's size travels with them."""
        kept = {
            "features": self.encode(batch),
            "focal": batch.frames.focal,
            "princpt": batch.frames.princpt,
            "size": torch.tensor(batch.frames.size).expand(len(batch), 2),
        }
        return kept | {name: getattr(batch.target, name) for name in _LABELS}

    def conclude(self, kept: dict[str, Tensor], time: Float[Tensor, "n"]) -> Hands:
        """The hand of each frame from the frames up to it."""
        places, real = map(torch.from_numpy, self.clips(kept["row"].numpy(), self.num_frame))
        device, hands = kept["features"].device, []
        frames = Frames(
            size=tuple(kept["size"][0].tolist()),
            features=kept["features"],
            focal=kept["focal"],
            princpt=kept["princpt"],
            time=time.to(device),
        )
        target = HandTarget(**{name: kept[name] for name in _LABELS})
        for chunk in torch.arange(len(time)).split(self.chunk):
            order, index = frames_in_order(places[chunk])
            batch = ClipBatch(
                frames=frames[order.to(device)],
                index=index.to(device),
                frame_mask=real[chunk].to(device),
                is_right=torch.ones(len(chunk), dtype=torch.bool, device=device),
                row=kept["row"][chunk].to(device),
                target=target[chunk.to(device)],
            )
            prediction = self.predict(batch)
            self.watch(prediction, batch)
            hands.append(to_host(prediction))
        return Hands(torch.cat([part.joints for part in hands]), torch.cat([part.vertices for part in hands]))


def labelled_hand(hand: HandLayer, target: HandTarget) -> tuple[HandOutput, Bool[Tensor, "b"]]:
    """The hands that the labelled parameters make, wrist at the origin, and which of them are the labelled
    ones: where the parameters are known, and belong to this hand model."""
    usable = target.hand_mask[:, 0]
    pose, shape = (part[:, 0].masked_fill(~usable[:, None], 0.0) for part in (target.pose, target.shape))
    output = hand(pose, shape)
    joints, known = metrics.relative_to_wrist(target.joints[:, 0]), target.joints_mask[:, 0]
    known = known & known[:, WRIST : WRIST + 1]
    for tip in FINGERTIPS:  # which data sets place otherwise
        known[:, tip] = False
    distance = metrics.point_distance(output.joints, joints, known)
    return output, usable & (metrics.frame_mean(distance, known).value <= OTHER_HAND_MODEL_MM)


class TruthKeeper:
    """The labels of batches, kept like a predictor's output; the true vertices are made by the hand layer.
    All of it on the CPU, with a hand layer of its own there, while the network's device computes."""

    def __init__(self, hand: HandLayer, expansion: float):
        """expansion: edge of the crops over that of the hands' boxes."""
        self.hand, self.expansion = copy.deepcopy(hand).cpu(), expansion

    def observe(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Labels, and vertices relative to the wrist where the hand's parameters are known and belong to this
        hand model. The batch is on the CPU."""
        assert batch.target is not None, "evaluation needs labels"
        output, known = labelled_hand(self.hand, batch.target)
        vertices = {"vertices": output.vertices, "hand_mask": known, "row": batch.row}
        return labels_of(batch, self.expansion) | vertices


@dataclass
class SequenceResult:
    """One evaluated sequence: the rows of its frames in the table, and every predictor's hands and errors."""

    rows: Tensor
    true: TrueHands
    hands: dict[str, Hands]
    errors: dict[str, dict[str, FrameErrors]]  # predictor -> metric


def cut_into_sequences(
    pieces: Iterable[dict[tuple[str, str], Tensor]], sequence: Int[np.ndarray, "rows"]
) -> Iterator[dict[tuple[str, str], Tensor]]:
    """Rearranges pieces (dicts of tensors with one leading axis, a frame each) into one dict a sequence.

    The frames come sequence after sequence; `sequence` is the number of the sequence of each row of the
    table, and pieces[ROW] their rows.
    """
    pending, current = [], None

    def whole() -> dict[tuple[str, str], Tensor]:
        return (
            pending[0]
            if len(pending) == 1
            else {name: torch.cat([piece[name] for piece in pending]) for name in pending[0]}
        )

    for piece in pieces:
        numbers = sequence[piece[ROW].numpy()]
        borders = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for start, end in zip(borders[:-1], borders[1:]):
            if pending and numbers[start] != current:
                yield whole()
                pending = []
            current = numbers[start]
            # Copies: what stays may be a whole sequence, and a loading process's batch holds an open file for
            # every tensor.
            pending.append({name: value[start:end].clone() for name, value in piece.items()})
    if pending:
        yield whole()


def predict_sequences(
    batches: Iterable[ClipBatch],
    predictors: dict[str, Predictor],
    truth: TruthKeeper,
    sequence: Int[np.ndarray, "rows"],
    frame: np.ndarray,
    time: np.ndarray,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Tensor, TrueHands, dict[str, Hands]]]:
    """(rows, truth, {predictor: hands}) of each sequence of which there are frames.

    batches are on the CPU, and what is yielded is, too; the predictors see them on `device`. sequence (its
    number), frame, time: columns of the whole table (time in s, float64).
    """

    def observed() -> Iterator[dict[tuple[str, str], Tensor]]:
        for batch in batches:
            assert batch.num_frame == 1, f"single frames are evaluated, got clips of {batch.num_frame}"
            with torch.no_grad():
                kept = {("", name): value for name, value in truth.observe(batch).items()}
                there = batch.to(device)
                for row, predictor in predictors.items():
                    kept |= {(row, name): value for name, value in predictor.observe(there).items()}
            yield kept

    for kept in cut_into_sequences(observed(), sequence):
        labels = {name: value for (row, name), value in kept.items() if row == ""}
        rows = labels.pop("row")
        when = torch.from_numpy(np.asarray(time)[rows.numpy()]).double()
        true = TrueHands(**labels, frame=torch.from_numpy(np.asarray(frame)[rows.numpy()]).long(), time=when)
        hands = {}
        for row, predictor in predictors.items():
            with torch.no_grad():
                own = {name: value for (owner, name), value in kept.items() if owner == row}
                hands[row] = predictor.conclude({"row": rows} | own, when)
            assert hands[row].joints.shape == true.joints.shape, (
                f"{row}: {hands[row].joints.shape} for {true.joints.shape}"
            )
            vertices = hands[row].vertices
            assert vertices is None or vertices.shape == true.vertices.shape, (
                f"{row}: {vertices.shape} for {true.vertices.shape}"
            )
        yield rows, true, hands


def frames_of_splits(true: TrueHands) -> dict[str, Bool[Tensor, "n"]]:
    """The frames of one sequence in each of SPLITS and CURVE."""
    wrist = (true.joints_mask & true.camera_mask[:, None])[:, WRIST : WRIST + 1]
    depth = true.joints[:, WRIST, 2].masked_fill(~wrist[:, 0], torch.nan)
    wrist_speed = metrics.speed(true.joints[:, WRIST : WRIST + 1], wrist, true.time)
    fingers = true.joints_mask & true.joints_mask[:, WRIST : WRIST + 1] & (torch.arange(NUM_JOINTS) != WRIST)
    finger_speed = metrics.speed(metrics.relative_to_wrist(true.joints), fingers, true.time)
    changes = finger_changes(true.joints, true.joints_mask)
    return {
        **split_frames(true.hidden, depth, wrist_speed, finger_speed, changes),
        **curve_frames(true.hidden),
    }


def score_sequences(
    sequences: Iterable[tuple[Tensor, TrueHands, dict[str, Hands]]],
    rows: list[str],
    filters: dict[str, tuple[str, HandFilter]],
    recording: Int[np.ndarray, "rows"],
    total: int,
    watch: Callable[[SequenceResult], None] = lambda _: None,
) -> ScoreBoard:
    """Scores every sequence. rows: the result's rows in their order; filters: filtered row -> (its source,
    the filter).

    recording: of each row of the table, which of the split's `total` recordings it is in. `watch` sees each
    sequence's hands and errors. The sums are those of this process: call `ScoreBoard.reduce` afterwards.
    """
    board = ScoreBoard(rows, [*SPLITS, *CURVE], total)
    for indices, true, hands in sequences:
        hands |= {row: smooth(hands[source], true.time) for row, (source, smooth) in filters.items()}
        splits = frames_of_splits(true)
        errors = {row: frame_errors(hands[row], true) for row in rows}
        for row in rows:
            board.add(row, int(recording[indices[0]]), errors[row], splits)
        watch(SequenceResult(indices, true, hands, errors))
    return board
