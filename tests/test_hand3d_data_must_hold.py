"""What must hold of the data of hand3d: the lines of docs/hand3d.md that are about data, each a test of its
number."""

import json

import cv2
import numpy as np
import pytest
import torch
from convert_support import camera_matrix, convert_here, picture, rows, true_hand, write_picture
from hand3d_data_support import OP_TO_HAND3D, by_the_script
from scipy.spatial.transform import Rotation
from tests_support import CONFIG, compose_config, hand_rows, load_file, write_table

from tempohand.assemble.export_json import ORDER, export_json
from tempohand.cli import COMMANDS
from tempohand.data.convert.orders import STB_TO_OP
from tempohand.data.convert.rows import Storage
from tempohand.data.masks import make_masks
from tempohand.data.pictures import decode_mask
from tempohand.data.table import COLUMNS, FrameTable
from tempohand.doctor.inspect_table import inspect_table
from tempohand.hand.layer import HandLayer
from tempohand.model.hand3d_parameters import weak_hand
from tempohand.synthetic.generate import SPLITS
from tempohand.synthetic.orthographic import PictureOfNumbers

K = camera_matrix(200, 150, 190)
PREPARE = load_file(CONFIG.parent / "script" / "prepare.py")


def synthetic_config():
    """That of the pretraining set, as script/prepare.py makes it."""
    settings = compose_config("synthetic-hand3d", "out=unused")
    for name in ("dataset", "out", "engine", "processes", "overwrite"):
        settings.pop(name)
    settings["sequences"] = {split: settings.pop(f"num_{split}") for split in SPLITS}
    return PREPARE.orthographic(settings)


def as_stored(row: dict, name: str) -> torch.Tensor:
    """A label as a table gives it back, in a batch of one."""
    return torch.from_numpy(np.asarray(row[name], np.float32).reshape(1, *COLUMNS[name][1]))


def dot(width: int, height: int) -> dict:
    """A row whose picture has a red dot at its first joint alone, far to the right of a wide picture."""
    row = hand_rows("a", 1, 1)[0]
    joints = np.column_stack([np.linspace(0.9, 0.6, 21) * width, np.linspace(0.2, 0.6, 21) * height])
    image = np.zeros((height, width, 3), np.uint8)
    cv2.circle(image, np.rint(joints[0]).astype(int).tolist(), 3, (0, 0, 255), -1)
    box = np.concatenate([joints.min(0), joints.max(0)])
    data = cv2.imencode(".png", image)[1].tobytes()
    return row | {"image": data, "width": width, "height": height, "joints2d": joints, "box": box}


@pytest.mark.parametrize(("width", "height"), [(200, 90), (90, 200)])
def test_2_x_is_the_width_and_y_the_height(tmp_path, width, height):
    table = write_table(tmp_path / "table", {"train": [[dot(width, height)]]})
    for whole in (True, False):
        path, _ = export_json(table, tmp_path / f"json{whole}", whole=whole)
        (entry,) = json.loads(path.read_text())["splits"]["train"]
        x, y = np.rint(entry["joints2d"][0][:2]).astype(int)
        shown = cv2.imread(str(path.parent / entry["image"]))
        assert shown.shape[:2] == tuple(entry["size"][::-1])
        assert shown[y, x, 2] > 200 and shown[y, x, 0] < 60  # the wrist's red dot


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


@pytest.fixture
def photographs(tmp_path):
    """Right and left hands as MPII+NZSL has them: (table, name -> joints in the original picture, px)."""
    root, joints = tmp_path / "hand_labels", {}
    for seed, (split, side) in enumerate(
        [("train", "r"), ("train", "l"), ("test", "r"), ("test", "l"), ("train", "r")]
    ):
        hand = true_hand(seed, is_right=side == "r", wrist=(30 * seed - 60, 10, 550))
        place = root / f"manual_{split}" / f"00000{seed}_01_{side}"
        write_picture(place.with_suffix(".jpg"), picture([hand], K, 200, 150))
        points = np.column_stack([hand.project(K), np.ones(21)])
        labels = {"hand_pts": points.tolist(), "is_left": int(side == "l")}
        place.with_suffix(".json").write_text(json.dumps(labels))
        joints[place.name] = points[:, :2]
    whole = Storage(crop=False)  # as the published crops were made of whole pictures
    return convert_here("mpii_nzsl", root, tmp_path / "table", hand=None, storage=whole), joints


def test_6_one_command_makes_the_unified_data_of_any_table(photographs, tmp_path):
    table, original = photographs
    path, counts = export_json(table, tmp_path / "json")
    content = json.loads(path.read_text())["splits"]
    assert counts == {"manual_train": 3, "manual_test": 2}
    for entry in [one for entries in content.values() for one in entries]:
        expected = by_the_script(original[entry["sequence"].split("/")[1]], 200, 150)
        if entry["mirrored"]:
            expected[:, 0] = 319 - expected[:, 0]
        assert entry["mirrored"] == entry["sequence"].endswith("/left")
        found = np.array(entry["joints2d"])[:, :2]
        assert np.abs(found - expected[list(OP_TO_HAND3D)]).max() < 5e-4
    mixture = compose_config("hand3d", "data=mix_hand3d")["data"]["tables"]
    assert set(mixture) == {"panoptic", "mpii_nzsl", "stb"}


def test_7_three_joint_orders_become_one():
    from_stb = (0, 13, 14, 15, 16, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6, 7, 8, 17, 18, 19, 20)
    assert ORDER.tolist() == list(OP_TO_HAND3D)
    assert np.array(STB_TO_OP)[ORDER].tolist() == list(from_stb)
    assert sorted(ORDER) == list(range(21))


def test_8_training_and_test_splits_have_masks(photographs, tmp_path):
    out, counts = make_masks(photographs[0], tmp_path / "masks", workers=1)
    assert counts["made"] >= 4 and counts.total() == 5
    for split in ("manual_train", "manual_test"):
        table = FrameTable(out, split)
        joints = table.column("joints2d")
        for row in range(len(table)):
            if (mask := table.mask(row)) is not None:
                palm = np.rint(joints[row][[0, 5, 9, 13, 17]].mean(0)).astype(int)
                assert mask[palm[1], palm[0]] and 0.02 < mask.mean() < 0.6


def test_12_millimetres_become_pixels_and_the_tools_are_commands(tmp_path):
    from scipy.io import savemat

    stereo = np.array([[822.79041, 0, 318.47345], [0, 822.79041, 250.31296], [0, 0, 1]])
    hand = true_hand(3, is_right=False, wrist=(40, 0, 550))
    fingers = np.concatenate([np.arange(first, first + 4) for first in (17, 13, 9, 5, 1)])
    stored = np.concatenate([[(hand.joints[0] + hand.joints[9]) / 2], hand.joints[fingers]])
    (tmp_path / "STB" / "labels").mkdir(parents=True)
    savemat(tmp_path / "STB/labels/B1Counting_BB.mat", {"handPara": stored[None].transpose(2, 1, 0)})
    write_picture(tmp_path / "STB/images/B1Counting/BB_left_0.png", picture([hand], stereo, 640, 480))
    table = convert_here("stb", tmp_path / "STB", tmp_path / "table", hand=None, cameras=["BB_left"])
    (row,) = rows(table, "test").values()
    assert np.abs(row["joints"] - hand.joints).max() < 0.01
    pixels = row["joints"][:, :2] / row["joints"][:, 2:] * row["focal"] + row["princpt"]
    assert np.abs(pixels - row["joints2d"]).max() < 1e-3 and row["joints2d_mask"].all()
    assert {"export-json", "masks", "inspect", "predict"} <= set(COMMANDS)


def test_13_pages_show_mesh_joints_mask_and_heat_maps(tmp_path):
    rows_ = [PictureOfNumbers(np.random.default_rng(5), synthetic_config()).row("one")]
    table = write_table(tmp_path / "table", {"test": [rows_]})
    page = inspect_table(table, checkpoint="tempohand-tiny").read_text()
    # joints, heat maps, projection, mesh, mask as labelled; joints, mesh, mask, heat maps as predicted
    assert page.count("<img") == 9
