import sys
import types
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from tempohand.inference.detector import HandDetector, build_model
from tempohand.inference.source import SourceFrame

PALM, LANDMARK = (
    f"mediapipe/modules/{name}/{name}_full.tflite" for name in ("palm_detection", "hand_landmark")
)


def write_wheel(path, names=(PALM, LANDMARK)):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, name * 9)
    return path


@pytest.fixture
def fake_mediapipe(monkeypatch):
    """The part of mediapipe's interface that is used; the landmarker answers with what the test puts into
    `answer`."""

    class Landmarker:
        closed, answer, times = False, None, []

        def detect(self, picture):
            return self.answer

        def detect_for_video(self, picture, time_ms):
            self.times.append(time_ms)
            return self.answer

        def close(self):
            self.closed = True

    landmarker = Landmarker()
    vision = types.ModuleType("mediapipe.tasks.python.vision")
    vision.RunningMode = SimpleNamespace(VIDEO="video", IMAGE="image")
    vision.HandLandmarkerOptions = lambda **options: SimpleNamespace(**options)
    vision.HandLandmarker = SimpleNamespace(create_from_options=lambda options: landmarker)
    python = types.ModuleType("mediapipe.tasks.python")
    python.BaseOptions, python.vision = lambda model_asset_path: model_asset_path, vision
    tasks, mediapipe = types.ModuleType("mediapipe.tasks"), types.ModuleType("mediapipe")
    mediapipe.__version__, mediapipe.Image, mediapipe.ImageFormat = (
        "1.2.2",
        lambda **k: k,
        SimpleNamespace(SRGB=1),
    )
    for module in (mediapipe, tasks, python, vision):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return mediapipe, landmarker


def test_the_model_is_the_wheels_two_networks_in_place(tmp_path):
    wheel = write_wheel(tmp_path / "m.whl")
    out = build_model(wheel, tmp_path / "m.task")
    content = out.read_bytes()
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        infos = {info.filename: info for info in archive.infolist()}
        assert set(infos) == {"hand_detector.tflite", "hand_landmarks_detector.tflite"}
        for (name, info), original in zip(sorted(infos.items()), (PALM, LANDMARK)):
            assert archive.read(name).decode() == original * 9 and info.compress_type == zipfile.ZIP_STORED
            assert content.index((original * 9).encode()) % 16 == 0
    assert build_model(wheel, tmp_path / "again.task").read_bytes() == content


def test_what_is_not_that_wheel_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="pip download"):
        build_model(tmp_path / "absent.whl", tmp_path / "m.task")
    (tmp_path / "text.whl").write_text("text")
    with pytest.raises(ValueError, match="not a zip file"):
        build_model(tmp_path / "text.whl", tmp_path / "m.task")
    with pytest.raises(ValueError, match="has no hand networks .*hand_landmark_full"):
        build_model(write_wheel(tmp_path / "other.whl", (PALM,)), tmp_path / "m.task")
    assert not list(tmp_path.glob("m.task*"))


def test_what_is_missing_is_named_with_its_remedy(tmp_path, monkeypatch, fake_mediapipe):
    mediapipe, _ = fake_mediapipe
    with pytest.raises(FileNotFoundError, match="pip download.*tempohand detector-model"):
        HandDetector(tmp_path / "absent.task", video=True)
    mediapipe.__version__ = "0.10.21"
    with pytest.raises(ValueError, match="needs mediapipe 1.2 or newer, this is 0.10.21"):
        HandDetector(tmp_path / "absent.task", video=True)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(
        ValueError, match=r"the hand detector needs mediapipe .*pip install 'tempohand\[detect\]'"
    ):
        HandDetector(tmp_path / "absent.task", video=True)


def test_boxes_bound_the_landmarks_in_pixels(tmp_path, fake_mediapipe):
    _, landmarker = fake_mediapipe
    model = tmp_path / "m.task"
    model.write_bytes(b"model")
    rng = np.random.default_rng(0)
    inside, outside = rng.uniform(0.2, 1.1, (21, 2)), rng.uniform(1.2, 1.4, (21, 2))
    landmarker.answer = SimpleNamespace(
        hand_landmarks=[
            [SimpleNamespace(x=x, y=y) for x, y in points] for points in (inside, outside, inside / 2)
        ],
        handedness=[[SimpleNamespace(category_name=name)] for name in ("Left", "Right", "Right")],
    )
    picture = np.zeros((50, 80, 3), np.uint8)
    with HandDetector(model, video=True) as detector:
        left, right = detector.detect(SourceFrame(0, 0.0, picture, ""))
        for time in (0.0001, 0.5, 0.5):
            detector.detect(SourceFrame(1, time, picture, ""))
    assert (left.is_right, right.is_right) == (False, True)
    pixels = inside * [80, 50] - 0.5
    np.testing.assert_allclose(left.box, [*pixels.min(0), *pixels.max(0)])
    assert landmarker.times == [0, 1, 500, 501] and landmarker.closed  # MediaPipe wants times that rise
