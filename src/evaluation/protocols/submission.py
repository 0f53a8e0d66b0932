"""Writes predictions in the form that official servers and scripts take: whole files in the official order,
or none."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from tempohand.evaluation.protocols.official import Convention, Key
from tempohand.evaluation.samples import Prediction
from tempohand.writing import whole

METRE_DIGITS = 7  # a ten-thousandth of a millimetre
Submission = Callable[[str | Path, Sequence[Key], Sequence[Key], set[Key], Prediction], int]


def _places(order: Sequence[Key], keys: Sequence[Key]) -> list[int]:
    """The place of each sample of the order among `keys`. Raises ValueError counting those that have no
    prediction."""
    place = {key: number for number, key in enumerate(keys)}
    missing = [key for key in order if key not in place]
    if missing:
        sequence, frame = missing[0]
        raise ValueError(
            f"{len(missing)} of {len(order)} samples of the official order have no prediction, first '{sequence}' frame {frame}: "
            "prepare the table of the whole official split (tempohand check-data names bad rows)"
        )
    return [place[key] for key in order]


def pred_zip(convention: Convention) -> Submission:
    """The writer of `pred.json` in a zip, for FreiHAND and HO3D: [xyz_list, verts_list], N x 21 x 3 and N x
    778 x 3, metres."""

    def write(
        path: str | Path,
        order: Sequence[Key],
        keys: Sequence[Key],
        in_table: set[Key],
        prediction: Prediction,
    ) -> int:
        """Every sample of the order. Raises ValueError when one has no prediction."""
        places = _places(order, keys)
        assert prediction.vertices is not None, "pred.json holds vertices"
        lists = convention.write(prediction.joints, prediction.vertices)
        with (
            whole(path) as part,
            zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive,
            archive.open("pred.json", "w", force_zip64=True) as file,
            tqdm(total=2 * len(places), desc="writing pred.json", unit="sample", mininterval=1.0) as bar,
        ):
            for number, points in enumerate(lists):
                file.write(b", [" if number else b"[[")
                for sample, place in enumerate(places):
                    rounded = torch.round(points[place].double(), decimals=METRE_DIGITS).tolist()
                    file.write((", " if sample else "").encode() + json.dumps(rounded).encode())
                    bar.update()
                file.write(b"]")
            file.write(b"]")
        return len(places)

    return write


def dexycb_text(
    path: str | Path, order: Sequence[Key], keys: Sequence[Key], in_table: set[Key], prediction: Prediction
) -> int:
    """DexYCB's text: a line a sample, "index,x0,y0,z0,...,z20", 64 values, mm; the index is the sample's
    place in the official split.

    Samples without a row in the table are not written: their truth is invalid, and DexYCB's hpe_eval.py skips
    them. Raises ValueError when one with a row has no prediction.
    """
    wanted = [(number, key) for number, key in enumerate(order) if key in in_table]
    places = _places([key for _, key in wanted], keys)
    with whole(path) as part, part.open("w", encoding="ascii") as file:
        for (number, _), place in zip(wanted, places):
            file.write(
                ",".join(
                    [str(number), *(f"{value:.4f}" for value in prediction.joints[place].flatten().tolist())]
                )
                + "\n"
            )
    return len(places)
