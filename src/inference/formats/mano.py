"""Arguments of `smplx.MANO(..., use_pca=False, flat_hand_mean=True)`, as .npz: radians and metres.

A left hand is posed by the mirror image of the right hand's model, as the network was trained.
"""

from pathlib import Path

import numpy as np
import torch

from tempohand.geometry import mirror_points
from tempohand.hand.layer import MM_PER_METRE
from tempohand.inference.formats.predictions import Predictions
from tempohand.writing import whole


def write(predictions: Predictions, out: Path) -> list[str]:
    """transl = wrist - J0(betas): MANO turns a hand about its wrist and then adds it. Raises OSError."""
    tables, shape = predictions.tables, predictions.shape.astype(np.float64)
    regressor = tables.joint_regressor[0].astype(np.float64)
    wrist = regressor @ tables.v_template + shape @ np.einsum("v, v c b -> b c", regressor, tables.shapedirs)
    mirrored = mirror_points(torch.from_numpy(wrist)).numpy()
    wrist = np.where(predictions.is_right[:, None], wrist, mirrored)
    arrays = {
        "global_orient": predictions.pose[:, :3],
        "hand_pose": predictions.pose[:, 3:],
        "betas": predictions.shape,
        "transl": (predictions.trans / MM_PER_METRE - wrist).astype(np.float32),
        "flat_hand_mean": np.array(True),
        "use_pca": np.array(False),
        "is_rhand": predictions.is_right,
        **{name: getattr(predictions, name) for name in ("frame", "time", "hand_id")},
    }
    with whole(out) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return []
