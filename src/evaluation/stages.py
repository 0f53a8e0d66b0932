"""The two stages of a network as an evaluation's predictors."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from tempohand.batch import ClipBatch, HandPrediction
from tempohand.evaluation.evaluator import PerFrame, Predictor, Temporal, encode_once

Watch = Callable[[HandPrediction, ClipBatch], object]  # sees predictions with their batches


@dataclass(frozen=True)
class Histories:
    """Which frames a clip has, as in training: `clip_rows` as `Temporal` takes it, and its bounds in
    seconds."""

    clip_rows: Callable
    max_gap: float
    max_age: float


def build_predictors(
    stage1: torch.nn.Module,
    stage2: torch.nn.Module | None,
    autocast: Callable,
    histories: Histories,
    watch: dict[str, Watch] | None = None,
    shaped: Callable[[HandPrediction, ClipBatch], HandPrediction] = lambda prediction, _: prediction,
) -> tuple[dict[str, Predictor], PerFrame]:
    """({stage: its predictor}, Stage 1 unwatched). Stages that share their spatial network encode a frame
    once, under `autocast()`.

    watch: stage -> who sees its predictions, after `shaped` changed them; None: nobody.
    """
    watch = {"stage1": _nobody, "stage2": _nobody} | (watch or {})
    encode2 = encode_once(stage2, autocast) if stage2 else None
    encode1 = encode2 if stage2 and stage1.spatial is stage2.spatial else encode_once(stage1, autocast)

    def predict1(batch: ClipBatch) -> HandPrediction:
        features, heatmaps = encode1(batch)
        return shaped(stage1.decode(features, batch, heatmaps), batch)

    def watched1(batch: ClipBatch) -> HandPrediction:
        prediction = predict1(batch)
        watch["stage1"](prediction, batch)
        return prediction

    found: dict[str, Predictor] = {"stage1": PerFrame(watched1)}
    if stage2:

        def decode2(features: torch.Tensor, batch: ClipBatch) -> HandPrediction:
            return shaped(stage2.decode(features, batch), batch)

        found["stage2"] = Temporal(
            lambda batch: encode2(batch)[0],
            decode2,
            stage2.num_frame,
            **vars(histories),
            watch=watch["stage2"],
        )
    return found, PerFrame(predict1)


def _nobody(prediction: HandPrediction, batch: ClipBatch) -> None:
    """Whom nothing is told."""
