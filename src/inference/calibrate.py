"""Holds a network's certainty of joints against a table's labels, and keeps with it what it means."""

import json
import shutil
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from tqdm import tqdm

from tempohand.data.table import FrameTable
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.manifest import write_manifest
from tempohand.model.confidence import NEAR, Calibration
from tempohand.model.weights import CONFIG_NAME, load_config, locate
from tempohand.writing import whole_folder

AS_IT_IS = Calibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


def chosen_rows(table: FrameTable, most: int) -> Int[np.ndarray, "n"]:
    """Rows of whole sequences, evenly chosen, of `most` rows or a little more in all."""
    starts = table.sequence_starts()
    first = np.unique(starts)
    kept = first[
        np.unique(np.linspace(0, len(first) - 1, max(1, most * len(first) // len(starts))).astype(int))
    ]
    return np.flatnonzero(np.isin(starts, kept))


def certainty_and_truth(
    network, table: FrameTable, rows: Int[np.ndarray, "n"], batch_size: int = 16
) -> tuple[Float[np.ndarray, "m"], Bool[np.ndarray, "m"]]:
    """Of every labelled joint of these rows: how certain the network is, and whether it lies within NEAR of
    the longer edge of the hand's true box of its label, in pictures with true boxes, as a stream sees them.

    Raises ValueError for a network that does not say how certain it is.
    """
    predictor = StreamingPredictor(network, batch_size=batch_size)
    predictor.calibration = AS_IT_IS
    starts, labels = table.sequence_starts()[rows], table.labels(rows)
    certainty, near = [], []
    for first in tqdm(range(0, len(rows), batch_size), desc="calibrating", unit="batch"):
        hands = []
        for place in range(first, min(first + batch_size, len(rows))):
            one = {name: labels[name][place] for name in ("box", "focal", "princpt")}
            hands.append(
                HandInput(
                    image=table.image(int(rows[place])),
                    time=float(labels["time"][place]),
                    hand=int(starts[place]),
                    is_right=bool(labels["is_right"][place]),
                    starts=rows[place] == starts[place],
                    **one,
                )
            )
        for place, said in enumerate(predictor.push_all(hands), start=first):
            known = labels["joints2d_mask"][place]
            box = labels["box"][place]
            away = np.linalg.norm(said.joints2d - labels["joints2d"][place], axis=1)
            certainty.append(said.confidence[known])
            near.append(away[known] < NEAR * max(box[2] - box[0], box[3] - box[1]))
    if not certainty or np.isnan(np.concatenate(certainty)).any():
        raise ValueError(
            f"the {network.title} does not say how certain it is of joints: nothing to calibrate"
        )
    return np.concatenate(certainty), np.concatenate(near)


def calibrate(network, table: FrameTable, most: int) -> Calibration:
    """The calibration of a network on some `most` rows of a table. Raises what `certainty_and_truth` and
    `Calibration.fit` raise."""
    return Calibration.fit(*certainty_and_truth(network, table, chosen_rows(table, most)))


def keep_calibration(checkpoint: str | Path, calibration: Calibration) -> Path:
    """Writes a calibration into a checkpoint directory's configuration, the directory whole or not at all;
    returns it."""
    folder = locate(checkpoint).resolve()
    config = load_config(folder) | {"confidence": calibration.to_config()}
    with whole_folder(folder) as part:
        for file in folder.iterdir():
            shutil.copy2(file, part / file.name)
        (part / CONFIG_NAME).write_text(json.dumps(config, indent=1), encoding="utf-8")
        write_manifest(part)
    return folder
