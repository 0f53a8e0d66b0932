"""Depth and masks of the public data sets, written as each encodes them: what was meant comes back, and who
has not downloaded them has rows without."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from tests_support import load_file

from tempohand.data.convert.registry import converter_class

HERE = Path(__file__).parent
MM = np.random.default_rng(0).integers(300, 2000, (400, 400)).astype(float)
MASK = np.random.default_rng(1).random((400, 400)) < 0.4


def write_png(path: Path, *channels: np.ndarray) -> None:
    """Channels in RGB's order, or one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.dstack(channels[::-1]) if len(channels) > 1 else channels[0]
    assert cv2.imwrite(str(path), values)


def frames(name: str, root: Path):
    converter = converter_class(name)(root, None)
    unit = converter.units()[0]
    recording = converter.open(unit)
    number = next(iter(recording.numbers))
    return unit, number, lambda: recording.frame(number)


def test_ho3d(tmp_path):
    load_file(HERE / "test_ho3d.py").write(tmp_path, ".jpg")
    unit, number, read = frames("ho3d_v3", tmp_path)
    assert read().depth is None and read().hands[0].mask is None
    units = np.rint(MM[:120, :160] / 1000 / 0.00012498664727900177).astype(int)
    low, high = (units & 255).astype(np.uint8), (units >> 8).astype(np.uint8)
    write_png(tmp_path / unit.key / f"depth/{number:04d}.png", low, high, np.zeros_like(low))
    np.testing.assert_allclose(read().depth, MM[:120, :160], atol=0.07)


def test_rhd(tmp_path):
    root, _ = load_file(HERE / "test_rhd.py").folder.__wrapped__(tmp_path)
    _, number, read = frames("rhd", root)
    assert read().depth is None and read().hands[0].mask is None
    units = np.rint(MM[:320, :320] / 5000 * 65535).astype(int)
    high, low = (units >> 8).astype(np.uint8), (units & 255).astype(np.uint8)
    write_png(root / f"training/depth/{number:05d}.png", high, low, np.zeros_like(low))
    parts = np.random.default_rng(2).integers(0, 34, (320, 320)).astype(np.uint8)
    write_png(root / f"training/mask/{number:05d}.png", parts)
    frame = read()
    np.testing.assert_allclose(frame.depth, MM[:320, :320], atol=0.05)
    left, right = (next(hand for hand in frame.hands if hand.is_right == side) for side in (False, True))
    np.testing.assert_array_equal(left.mask, (parts >= 2) & (parts <= 17))
    np.testing.assert_array_equal(right.mask, parts >= 18)


def test_freihand(tmp_path):
    root, _ = load_file(HERE / "test_freihand.py").folder.__wrapped__(tmp_path)
    _, number, read = frames("freihand", root)
    assert read().hands[0].mask is None
    mask = np.zeros((224, 224), np.uint8)
    mask[60:150, 80:200] = 255  # of a JPEG
    write_png(root / f"training/mask/{number:08d}.jpg", mask)
    np.testing.assert_array_equal(read().hands[0].mask, mask > 0)


@pytest.mark.slow
def test_dexycb(tmp_path_factory):
    tests = load_file(HERE / "test_dexycb.py")
    root, _ = tests.made.__wrapped__(tmp_path_factory)
    converter = converter_class("dexycb")(root, None)
    unit = next(unit for unit in converter.units() if (root / unit.key / "labels_000000.npz").is_file())
    read = converter.open(unit).frame
    assert read(0).depth is None and not read(0).hands[0].mask.any()
    write_png(root / unit.key / "aligned_depth_to_color_000000.png", MM[:120, :160].astype(np.uint16))
    labels = dict(np.load(root / unit.key / "labels_000000.npz"))
    labels["seg"] = np.where(MASK[:120, :160], 255, 3).astype(np.uint8)
    np.savez(root / unit.key / "labels_000000.npz", **labels)
    np.testing.assert_array_equal(read(0).depth, MM[:120, :160])
    np.testing.assert_array_equal(read(0).hands[0].mask, MASK[:120, :160])
