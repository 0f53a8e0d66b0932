"""Predictions as a server sees them that poses the hand model itself, with the true shape (HOT3D's pose
track)."""

from collections.abc import Callable
from dataclasses import replace

import torch

from tempohand.batch import ClipBatch, HandPrediction
from tempohand.evaluation.evaluator import labelled_hand
from tempohand.geometry import normalise_pixels, project
from tempohand.hand.layer import HandLayer


def with_true_shape(hand: HandLayer) -> Callable[[HandPrediction, ClipBatch], HandPrediction]:
    """A function of a prediction and its batch: the predicted pose and wrist on a hand of the labelled shape.

    A hand without a labelled shape, or with one of another hand model, keeps the predicted one.
    """

    def given(prediction: HandPrediction, batch: ClipBatch) -> HandPrediction:
        known = labelled_hand(hand, batch.labels)[1]
        shape = torch.where(known[:, None, None], batch.labels.shape, prediction.shape)
        joints, vertices = hand(prediction.pose, shape, prediction.trans)
        pixels = project(joints, batch.focal[:, -1:], batch.princpt[:, -1:])
        joints2d = normalise_pixels(pixels, batch.frames.size[::-1])
        return replace(prediction, shape=shape, joints=joints, vertices=vertices, joints2d=joints2d)

    return given
