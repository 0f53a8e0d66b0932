"""HaMeR's training archives: tars of their own format, made of the open hand, come back as they were made."""

import io
import pickle
import tarfile

import cv2
import numpy as np
import pytest
from convert_support import (
    assert_same_hand,
    camera_matrix,
    convert_here,
    picture,
    reasons,
    recordings,
    rows,
    true_hand,
)

from tempohand.data.convert.rows import Storage

K = camera_matrix(200, 150, 180)


def sample_of(hand, **changes) -> dict:
    pixels = hand.project(K)
    low, high = pixels.min(0), pixels.max(0)
    return {
        "keypoints_2d": np.concatenate([pixels, np.ones((21, 1))], 1).astype(np.float32),
        "keypoints_3d": np.concatenate([hand.joints / 1000, np.ones((21, 1))], 1).astype(np.float32),
        "center": (low + high) / 2,
        "scale": (high - low) / 200,
        "hand_pose": hand.pose.astype(np.float32),
        "betas": hand.shape.astype(np.float32),
        "right": np.array(float(hand.is_right)),
        "has_hand_pose": np.array(1.0),
        "has_betas": np.array(1.0),
        "extra_info": {"fitting_loss": np.array({"reprojection_loss": 3.0})},
    } | changes


def jpeg(hands) -> bytes:
    return cv2.imencode(".jpg", picture(hands, K, 200, 150)[..., ::-1])[1].tobytes()


def write_tar(path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "dataset_tars"
    right, left, other = true_hand(1), true_hand(2, is_right=False), true_hand(3, wrist=(40, 20, 500))
    write_tar(
        root / "freihand-train/000000.tar",
        {"0001.data.pyd": pickle.dumps([sample_of(right)]), "0001.jpg": jpeg([right])},
    )
    both = [
        sample_of(left),
        sample_of(other, keypoints_3d=np.zeros((21, 4))),
        sample_of(right, has_betas=np.array(0.0)),
    ]
    members = {
        "a/0002.jpg": jpeg([left, other, right]),
        "a/0002.data.pyd": pickle.dumps(both, protocol=5),
        "a/0002.detection.npz": b"x",
    }
    write_tar(root / "cocow-train/000000.tar", members)
    return root, right, left, other


def test_every_hand_comes_back_in_its_set_and_in_all(folder, tmp_path):
    root, right, left, other = folder
    table = convert_here("hamer_tars", root, tmp_path / "table", hand=None)
    everything = rows(table, "train")
    assert set(everything) == set(rows(table, "freihand-train")) | set(rows(table, "cocow-train"))
    assert_same_hand(everything["freihand-train/000000/0001/0/right", 0], right)
    assert_same_hand(everything["cocow-train/000000/a/0002/0/left", 0], left)
    flat = everything["cocow-train/000000/a/0002/1/right", 1]
    assert (
        not flat["joints_mask"].any()
        and flat["joints2d_mask"].all()
        and flat["has_hand"]
        and not flat["trans"].any()
    )
    assert_same_hand(everything["cocow-train/000000/a/0002/2/right", 2], right, parameters=False)
    assert not any(row["has_camera"] for row in everything.values())
    assert {recording: len(hands) for recording, hands in recordings(table, "train").items()} == {
        "freihand-train/000000/0001": 1,
        "cocow-train/000000/a/0002": 3,
    }


def test_joints_are_as_sure_as_the_option_says_and_the_box_steps_in(folder, tmp_path):
    root, right, _, _ = folder
    sample = sample_of(right, betas=np.full(10, 3.5))
    sample["keypoints_2d"][:9, 2] = np.linspace(0, 0.76, 9)
    sample["keypoints_2d"][0, :2] = -1
    write_tar(
        root / "freihand-train/000000.tar", {"1.data.pyd": pickle.dumps([sample]), "1.jpg": jpeg([right])}
    )
    pixels = right.project(K)
    for options, unsure in (({}, 4), ({"confidence": 0.0}, 1)):
        table = convert_here(
            "hamer_tars", root, tmp_path / f"table{unsure}", storage=Storage(crop=False), **options
        )
        (row,) = rows(table, "freihand-train").values()
        assert (
            row["joints2d_mask"].tolist() == [False] * unsure + [True] * (21 - unsure) and not row["has_hand"]
        )
        np.testing.assert_allclose(row["box"], [*pixels.min(0), *pixels.max(0)], atol=0.01)
        np.testing.assert_allclose(row["joints2d"][unsure:], pixels[unsure:], atol=0.01)
        assert row["image"].shape == (150, 200, 3)


def test_damaged_members_cost_themselves_alone(folder, tmp_path):
    root, right, _, _ = folder
    good = pickle.dumps([sample_of(right)])
    members = {
        "bad.jpg": jpeg([right]),
        "bad.data.pyd": good[:200],
        "evil.jpg": jpeg([right]),
        "evil.data.pyd": b"cos\nsystem\n(S'true'\ntR.",
    }
    members |= {
        "cut.jpg": jpeg([right])[:-40],
        "cut.data.pyd": good,
        "alone.data.pyd": good,
        "number.jpg": b"",
        "number.data.pyd": b"I7\n.",
    }
    shapeless = [sample_of(right, keypoints_2d=np.zeros((20, 3))), {"right": 1}, sample_of(right)]
    members |= {
        "shape.jpg": jpeg([right]),
        "shape.data.pyd": pickle.dumps(shapeless),
        "z.jpg": jpeg([right]),
        "z.data.pyd": good,
    }
    path = root / "freihand-train/000001.tar"
    write_tar(path, members)
    table = convert_here("hamer_tars", root, tmp_path / "table")
    found = {name for name, _ in rows(table, "freihand-train") if "/000001/" in name}
    assert found == {"freihand-train/000001/shape/2/right", "freihand-train/000001/z/0/right"}
    assert list(reasons(table).values()) == [
        "damaged annotation",
        "damaged annotation",
        "picture damaged",
        "incomplete sample",
        "damaged annotation",
        "damaged annotation",
        "damaged annotation",
    ]
    path.write_bytes(path.read_bytes()[: -len(jpeg([right]))])  # the archive's end is missing, and with it z
    (root / "freihand-train/000002.tar").write_bytes(b"no archive at all" * 100)
    table = convert_here("hamer_tars", root, tmp_path / "again")
    assert {name for name, _ in rows(table, "freihand-train") if "/000001/" in name} == {
        "freihand-train/000001/shape/2/right"
    }
    assert "damaged archive" in reasons(table).values()
    assert reasons(table)["freihand-train/000002.tar", None] == "damaged annotation"


def test_other_folders_are_refused_in_one_line(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="no <set>/<number>.tar"):
        convert_here("hamer_tars", folder[0].parent, tmp_path / "table")
