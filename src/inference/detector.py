"""Hand boxes by MediaPipe's hand landmarker (optional: `pip install 'tempohand[detect]'`), and its model file
made from a wheel.

MediaPipe's wheels ship no model any more; that of 0.10.21 holds the two networks (Apache-2.0) that the
landmarker's .task file consists of: an uncompressed zip with fixed names.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tempohand.inference.settings import DETECTOR_MODEL, DETECTOR_WHEEL
from tempohand.inference.source import Source, SourceFrame
from tempohand.inference.tracker import Detection
from tempohand.writing import whole

MAX_HANDS = 8
# name in the .task file -> file in the wheel of mediapipe 0.10.21
_MODEL_PARTS = {
    "hand_detector.tflite": "mediapipe/modules/palm_detection/palm_detection_full.tflite",
    "hand_landmarks_detector.tflite": "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
}
_ALIGNMENT = 16  # bytes: networks that lie so are used in place, others are copied with a warning
_ZIP_HEADER = 30  # bytes of a zip entry's header before its name


def read_wheel(wheel: str | Path, files: Mapping[str, str]) -> dict[str, bytes]:
    """The content of a mediapipe 0.10.21 wheel's files: `files` has a name for each path in it. Raises
    FileNotFoundError or ValueError when the wheel is not that."""
    if not Path(wheel).is_file():
        raise FileNotFoundError(f"there is no wheel '{wheel}': get it by {DETECTOR_WHEEL}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            return {name: archive.read(path) for name, path in files.items()}
    except zipfile.BadZipFile:
        raise ValueError(f"'{wheel}' is not a wheel (not a zip file): get one by {DETECTOR_WHEEL}") from None
    except KeyError as error:
        raise ValueError(
            f"'{wheel}' has no hand networks ({error.args[0]}): get mediapipe 0.10.21's by {DETECTOR_WHEEL}"
        ) from None


def build_model(wheel: str | Path, out: str | Path) -> Path:
    """Makes the landmarker's .task file from a mediapipe 0.10.21 wheel. Raises FileNotFoundError or
    ValueError when the wheel is not that."""
    out = Path(out)
    parts = read_wheel(wheel, _MODEL_PARTS)
    with whole(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            info = zipfile.ZipInfo(name)  # its fixed date makes the file reproducible
            gap = -(archive.fp.tell() + _ZIP_HEADER + len(name) + 4) % _ALIGNMENT
            info.extra = b"\xff\xff" + gap.to_bytes(2, "little") + bytes(gap)
            archive.writestr(info, data)
    return out


class HandDetector:
    """MediaPipe's hand landmarker as a source of boxes: bounds of its 21 landmarks, with the side that it
    sees.

    A video is tracked from frame to frame, independent pictures are looked at one by one. Raises ValueError
    saying what to install when mediapipe is missing or too old, FileNotFoundError when its model file is. Use
    as a context manager.
    """

    verified = True  # its boxes hold hands

    def __init__(self, model: str | Path = DETECTOR_MODEL, *, video: bool, max_hands: int = MAX_HANDS):
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise ValueError(
                f"the hand detector needs mediapipe ({error}): pip install 'tempohand[detect]', or say "
                "where the hands are by boxes"
            ) from error
        if mediapipe.__version__.startswith("0."):  # they name the sides as in a mirror
            raise ValueError(
                f"the hand detector needs mediapipe 1.2 or newer, this is {mediapipe.__version__}: pip "
                "install -U 'mediapipe>=1.2'"
            )
        if not Path(model).is_file():
            raise FileNotFoundError(
                f"there is no hand model '{model}': {DETECTOR_WHEEL}, then: tempohand detector-model "
                f"{model} --wheel THE_WHEEL"
            )
        mode = vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE
        options = vision.HandLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)), num_hands=max_hands, running_mode=mode
        )
        try:
            self._landmarker = vision.HandLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"mediapipe does not take '{model}' as a hand model ({error}): make it anew by tempohand "
                "detector-model"
            ) from error
        self._mediapipe = mediapipe
        self._video = video
        self._time_ms = -1

    def __enter__(self) -> "HandDetector":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._landmarker.close()

    def check(self, source: Source) -> None:
        """Nothing to hold against the input."""

    def detect(self, frame: SourceFrame) -> list[Detection]:
        """The hands of a frame; those whose landmarks lie outside the picture are left out."""
        picture = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame.image)
        )
        if self._video:
            self._time_ms = max(self._time_ms + 1, round(frame.time * 1000))
            result = self._landmarker.detect_for_video(picture, self._time_ms)
        else:
            result = self._landmarker.detect(picture)
        size, detections = np.array(frame.size), []
        for landmarks, handedness in zip(result.hand_landmarks, result.handedness):
            pixels = np.array([[point.x, point.y] for point in landmarks]) * size - 0.5  # to pixel centres
            low, high = pixels.min(axis=0), pixels.max(axis=0)
            if (high > low).all() and (high >= 0).all() and (low <= size - 1).all():
                detections.append(
                    Detection(np.concatenate([low, high]), is_right=handedness[0].category_name == "Right")
                )
        return detections
