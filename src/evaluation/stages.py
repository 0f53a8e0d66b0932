"""The two stages of a network as an evaluation's predictors."""

from collections.abc import Callable
from typing import Any

from tempohand.batch import ClipBatch, HandPrediction
from tempohand.evaluation.evaluator import PerFrame, Predictor, Temporal, encode_once

Watch = Callable[[HandPrediction, ClipBatch], None]  # sees predictions with their batches


def unchanged(prediction: HandPrediction, batch: ClipBatch) -> HandPrediction:
    """The prediction as it is."""
    return prediction


def build_predictors(
    stage1: Any,
    stage2: Any,
    autocast: Callable,
    clips: Callable,
    watch: dict[str, Watch] | None = None,
    shaped: Callable[[HandPrediction, ClipBatch], HandPrediction] = unchanged,
) -> tuple[dict[str, Predictor], PerFrame]:
    """({stage: its predictor}, Stage 1 unwatched). Stages that share their spatial network encode a frame
    once, under `autocast()`.

    stage1, stage2: networks (model/network.py); stage2 may be None.
    clips: which frames a sequence's clips have (`Temporal`).
    watch: stage -> who sees its predictions, after `shaped` changed them; None: nobody.
    """
    watch = {"stage1": _nobody, "stage2": _nobody} | (watch or {})
    encode2 = encode_once(stage2, autocast) if stage2 else None
    shared = stage2 is not None and stage2.frozen in set(stage1.modules())

    def predict1(batch: ClipBatch) -> HandPrediction:
        if encode2 is not None and shared:
            return shaped(stage1.decode(encode2(batch), batch), batch)
        with autocast():
            return shaped(stage1(batch), batch)

    def watched1(batch: ClipBatch) -> HandPrediction:
        prediction = predict1(batch)
        watch["stage1"](prediction, batch)
        return prediction

    found: dict[str, Predictor] = {"stage1": PerFrame(watched1)}
    if encode2 is not None:

        def predict2(batch: ClipBatch) -> HandPrediction:
            return shaped(stage2(batch), batch)

        found["stage2"] = Temporal(
            lambda batch: encode2(batch).packed(),
            predict2,
            clips,
            stage2.num_frame,
            watch=watch["stage2"],
        )
    return found, PerFrame(predict1)


def _nobody(prediction: HandPrediction, batch: ClipBatch) -> None:
    """Whom nothing is told."""
