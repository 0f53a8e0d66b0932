"""Small data sets of known truth: hands of the open hand, filmed by the project's renderer, that tests write
in a data set's own format."""

import io
import json
import pickle
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from tempohand.data.convert.convert import Conversion, convert
from tempohand.data.convert.rows import Storage
from tempohand.data.parallel_jobs import LocalPool
from tempohand.data.table import FrameTable
from tempohand.hand.files import OPEN_HAND
from tempohand.hand.layer import HandLayer
from tempohand.render import render, shade
from tempohand.skeleton import MANO21_TO_OP

MANO_OF_OP = np.argsort(MANO21_TO_OP)  # gather: mano21 = op[MANO_OF_OP]
LAYERS = {True: HandLayer(side="right").double(), False: HandLayer(side="left").double()}
SKIN = np.array([205, 160, 135]) / 255


@dataclass(frozen=True)
class TrueHand:
    """A hand in camera space (OpenCV, mm), as the open hand is posed: an absolute pose, betas, the wrist, and
    what follows from them."""

    is_right: bool
    pose: np.ndarray  # [48]
    shape: np.ndarray  # [10]
    wrist: np.ndarray  # [3] mm
    joints: np.ndarray  # [21, 3] mm, OpenPose order
    vertices: np.ndarray  # [778, 3] mm

    @property
    def layer(self) -> HandLayer:
        return LAYERS[self.is_right]

    @property
    def transl(self) -> np.ndarray:
        """MANO's transl, mm."""
        return self.layer.wrist_to_transl(torch.from_numpy(self.wrist), torch.from_numpy(self.shape)).numpy()

    @property
    def relative_pose(self) -> np.ndarray:
        """The pose counted from the mean pose (flat_hand_mean=False)."""
        return self.layer.subtract_mean(torch.from_numpy(self.pose)).numpy()

    def pca(self, n: int = 45) -> tuple[np.ndarray, np.ndarray]:
        """Orientation and PCA coefficients counted from the mean pose. With fewer than 45 the hand must have
        been made from as many."""
        orient, coefficients = self.layer.pose_to_pca(torch.from_numpy(self.pose), n)
        return orient.numpy(), coefficients.numpy()

    def project(self, camera: np.ndarray) -> np.ndarray:
        """The joints in pixels of K [3, 3]."""
        pixels = self.joints @ camera.T
        return pixels[:, :2] / pixels[:, 2:]


def true_hand(
    seed: int, *, is_right: bool = True, wrist=(0.0, 0.0, 500.0), pca: int | None = None, shape=None
) -> TrueHand:
    """A hand in a drawn pose. pca: its fingers are made of so many PCA coefficients."""
    rng = np.random.default_rng([seed, 11])
    layer, pose = LAYERS[is_right], rng.normal(0, 0.2, 48)
    pose[:3] = rng.normal(0, 0.6, 3)
    if pca:
        pose = layer.pca_to_pose(
            torch.from_numpy(pose[:3]), torch.from_numpy(rng.normal(0, 0.4, pca))
        ).numpy()
    shape = rng.normal(0, 0.5, 10) if shape is None else np.asarray(shape, float)
    return posed(is_right, pose, shape, np.asarray(wrist, float) + rng.normal(0, 5, 3))


def posed(is_right: bool, pose: np.ndarray, shape: np.ndarray, wrist: np.ndarray) -> TrueHand:
    joints, vertices = LAYERS[is_right](
        *(torch.from_numpy(np.asarray(x, np.float64)) for x in (pose, shape, wrist))
    )
    return TrueHand(is_right, pose, shape, wrist, joints.numpy(), vertices.numpy())


def moved(hand: TrueHand, rotation: np.ndarray, translation: np.ndarray) -> TrueHand:
    """The hand after X' = R X + t (mm): what a data set's world is to its camera."""
    from scipy.spatial.transform import Rotation

    orient = (Rotation.from_matrix(rotation) * Rotation.from_rotvec(hand.pose[:3])).as_rotvec()
    return posed(
        hand.is_right,
        np.concatenate([orient, hand.pose[3:]]),
        hand.shape,
        rotation @ hand.wrist + translation,
    )


def camera_matrix(width: int, height: int, focal: float) -> np.ndarray:
    """K, its principal point near the picture's middle."""
    return np.array([[focal, 0.0, width / 2 + 3.3], [0.0, focal * 1.01, height / 2 - 2.7], [0.0, 0.0, 1.0]])


def picture(hands: list[TrueHand], camera: np.ndarray, width: int, height: int) -> np.ndarray:
    """RGB: the hands, shaded, before a grey gradient; the last one nearest."""
    canvas = np.linspace(0.15, 0.45, width, dtype=np.float32)[None, :, None].repeat(height, 0).repeat(3, 2)
    focal, princpt = camera[[0, 1], [0, 1]], camera[:2, 2]
    for hand in hands:
        faces = hand.layer.faces.numpy()
        canvas = render(
            hand.vertices,
            faces,
            shade(hand.vertices, faces, SKIN),
            focal,
            princpt,
            (height, width),
            background=canvas,
        )
    return (canvas * 255).round().astype(np.uint8)


def write_picture(path: Path, image: np.ndarray) -> None:
    """RGB to a file of the path's kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.ascontiguousarray(image[..., ::-1]))


def convert_here(
    dataset: str,
    root: Path,
    out: Path,
    *,
    hand: Path | None = OPEN_HAND,
    storage: Storage | None = None,
    **options,
) -> Path:
    """Converts with one process, in this one, as far as the pool allows; returns the table's folder."""
    convert(
        Conversion(dataset, str(root), str(hand) if hand else None, storage or Storage(), options),
        out,
        engine=LocalPool(1),
    )
    return out


def rows(table: Path, split: str) -> dict[tuple[str, int], dict]:
    """(sequence, frame) -> labels of the row, with `image` (RGB)."""
    frames = FrameTable(table, split)
    labels = frames.labels(np.arange(len(frames)))
    return {
        (about["sequence"], about["frame"]): {name: column[row] for name, column in labels.items()}
        | {"image": frames.image(row)}
        for row in range(len(frames))
        if (about := frames.about_row(row))
    }


def recordings(table: Path, *splits: str) -> dict[str, set[str]]:
    """recording -> its sequences."""
    found: dict[str, set[str]] = {}
    for split in splits:
        frames = FrameTable(table, split)
        assert frames.knows_recordings
        for recording, sequence in zip(frames.column("recording"), frames.column("sequence")):
            found.setdefault(recording, set()).add(sequence)
    return found


def assert_same_hand(row: dict, truth: TrueHand, *, parameters: bool = True, joints: bool = True) -> None:
    """A row is the true hand: joints and wrist to 0.1 mm, 2D to 0.1 px of the stored picture, the hand
    parameters' joints to 0.1 mm, its side; and the picture shows it: skin where the hand is."""
    assert row["is_right"] == truth.is_right
    if joints:
        assert row["joints_mask"].all()
        np.testing.assert_allclose(row["joints"], truth.joints, atol=0.1)
        if row["has_camera"]:
            pixels = truth.joints[:, :2] / truth.joints[:, 2:] * row["focal"] + row["princpt"]
            np.testing.assert_allclose(
                row["joints2d"][row["joints2d_mask"]], pixels[row["joints2d_mask"]], atol=0.1
            )
    assert row["has_hand"] == parameters
    if parameters:
        again = posed(
            truth.is_right, row["pose"].astype(float), row["shape"].astype(float), row["trans"].astype(float)
        )
        np.testing.assert_allclose(again.joints, truth.joints, atol=0.1)
    assert_shows(row, truth)


def assert_shows(row: dict, truth: TrueHand) -> None:
    """The stored picture has the hand's colours at the palm's vertices as the row's own labels say, and
    nowhere near its far corners."""
    height, width = row["image"].shape[:2]
    assert (row["width"], row["height"]) == (width, height)
    palm = row["joints2d"][[0, 5, 9, 13, 17]].mean(0)
    x, y = np.round(palm).astype(int)
    if 0 <= x < width and 0 <= y < height:
        red, _, blue = row["image"][y, x].astype(int)
        assert red - blue > 10, f"at {x, y} there is no skin: {row['image'][y, x]}"


class _Python2Pickler(pickle._Pickler):
    """Writes text and bytes alike, as Python 2 did."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_text(self, value: str | bytes) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_text


def python2_pickle(value) -> bytes:
    """A pickle as Python 2 and numpy 1 wrote it."""
    file = io.BytesIO()
    _Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue().replace(b"cnumpy._core.", b"cnumpy.core.")


def write_bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def reasons(table: Path) -> dict[tuple[str, int | None], str]:
    """(sequence or unit, number) -> why it became no row."""
    entries = [json.loads(line) for line in (table / "rejected.jsonl").read_text().splitlines()]
    return {(entry["sequence"], entry["number"]): entry["reason"] for entry in entries}
