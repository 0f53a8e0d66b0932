"""What must hold of the data of hand3d: the lines of docs/hand3d.md that are about data, each a test of its
number."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from tests_support import CONFIG, compose_config, load_file

from tempohand.data.pictures import decode_mask
from tempohand.data.table import COLUMNS
from tempohand.hand.layer import HandLayer
from tempohand.model.hand3d_parameters import weak_hand
from tempohand.synthetic.generate import SPLITS
from tempohand.synthetic.orthographic import PictureOfNumbers

PREPARE = load_file(CONFIG.parent / "script" / "prepare.py")


def synthetic_config():
    """That of the pretraining set, as script/prepare.py makes it."""
    settings = compose_config("synthetic-hand3d", "out=unused")
    for name in ("dataset", "out", "processes", "overwrite"):
        settings.pop(name)
    settings["sequences"] = {split: settings.pop(f"num_{split}") for split in SPLITS}
    return PREPARE.orthographic(settings)


def as_stored(row: dict, name: str) -> torch.Tensor:
    """A label as a table gives it back, in a batch of one."""
    return torch.from_numpy(np.asarray(row[name], np.float32).reshape(1, *COLUMNS[name][1]))


def test_3_synthetic_rows_carry_the_numbers_that_made_them():
    config = synthetic_config()
    assert (config.sequences["train"], config.sequences["test"], config.image_size) == (18000, 2000, 320)
    layer = HandLayer()
    for index in range(6):
        drawn = PictureOfNumbers(np.random.default_rng(index), config)
        row = drawn.row("name")
        labels = (as_stored(row, name) for name in ("pose", "shape", "trans", "focal", "princpt"))
        derived = weak_hand(layer, *labels).packed()[0].double().numpy()
        one, *numbers = drawn.numbers.listed()
        scale, place, rotation, rest = np.split(derived, [1, 3, 6])
        turned = Rotation.from_rotvec([rotation, numbers[3:6]]).as_matrix()
        assert one == 1 and abs(scale / numbers[0] - 1) < 1e-5
        assert np.abs(place - numbers[1:3]).max() < 0.02 and np.abs(rest - numbers[6:]).max() < 1e-4
        assert np.abs(turned[0] - turned[1]).max() < 1e-4
        assert decode_mask(row["mask"], 320, 320).any()
