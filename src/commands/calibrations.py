"""Calibrations of several cameras, as OpenCV's users and caliscope write them.

- .yaml, .yml, .json: cameras by name, or below `cameras`; each with K, dist, R, t (X_camera = R X + t), under
  these or other usual names. OpenCV's own files (cv2.FileStorage) are read, too.
- .toml: caliscope's camera_array.toml (mprib/caliscope: [cameras.N] with matrix, distortions, rotation,
  translation, fisheye), or aniposelib's calibration.toml ([cam_N]).

A rotation is a matrix or OpenCV's rotation vector.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from jaxtyping import Float

from tempohand.console import describe
from tempohand.hand.triangulation import PlacedCamera

NAMES = {
    "K": ("K", "matrix", "camera_matrix", "cameraMatrix", "intrinsic_matrix", "mtx"),
    "dist": (
        *("dist", "distortions", "distortion_coefficients", "distortion"),
        *("distCoeffs", "dist_coeffs", "D"),
    ),
    "R": ("R", "rotation", "rotation_matrix", "rvec"),
    "t": ("t", "T", "translation", "tvec"),
}


class _OpenCvLoader(yaml.SafeLoader):
    """YAML with OpenCV's matrices as mappings."""


for _tag in ("opencv-matrix", "opencv-nd-matrix"):  # of two dimensions, and of OpenCV 5's vectors
    _OpenCvLoader.add_constructor(
        f"tag:yaml.org,2002:{_tag}", lambda loader, node: loader.construct_mapping(node, deep=True)
    )


def read_cameras(path: str | Path, mm: float) -> dict[str, PlacedCamera]:
    """The cameras of a calibration, by name. mm: millimetres in its unit of length.

    Raises FileNotFoundError, or ValueError in one line for a file that is none or a camera that lacks
    something.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no calibration '{path}'")
    content = _content(path)
    cameras = content.get("cameras", content)
    if isinstance(cameras, list):
        cameras = {str(one.get("name", place)): one for place, one in enumerate(cameras)}
    found = {str(name): one for name, one in cameras.items() if isinstance(one, Mapping) and _named(one, "K")}
    if not found:
        raise ValueError(f"'{path}' holds no camera: each has a name, and K, dist, R and t below it")
    return {name: _camera(one, f"'{path}', camera {name}", mm) for name, one in found.items()}


def _content(path: Path) -> Mapping:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        if path.suffix == ".toml":
            content = tomllib.loads(text)
        elif path.suffix == ".json":
            content = json.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            content = yaml.load(re.sub(r"\A%YAML.*\n", "", text), _OpenCvLoader)
        else:
            raise ValueError("calibrations are read from .yaml, .json or .toml")
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"'{path}' cannot be read: {describe(error)[:120]}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"'{path}' holds no cameras by name")
    return content


def _named(camera: Mapping, key: str) -> Any:
    return next((camera[name] for name in NAMES[key] if camera.get(name) is not None), None)


def _camera(camera: Mapping, where: str, mm: float) -> PlacedCamera:
    values = {key: _named(camera, key) for key in NAMES}
    if missing := [key for key in ("R", "t") if values[key] is None]:
        raise ValueError(f"{where} has no {' and no '.join(missing)}: it is not placed among the others")
    try:
        rotation = _numbers(values["R"])
        if rotation.size == 3:
            rotation = cv2.Rodrigues(rotation.reshape(3))[0]
        return PlacedCamera(
            _numbers(values["K"]).reshape(3, 3),
            _numbers(values["dist"] if values["dist"] is not None else []).ravel(),
            rotation.reshape(3, 3),
            _numbers(values["t"]).reshape(3) * mm,
            bool(camera.get("fisheye", False)),
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {describe(error)}") from None


def _numbers(value: Any) -> Float[np.ndarray, "*any"]:
    """A list, or OpenCV's matrix (rows, cols, data)."""
    if isinstance(value, Mapping):
        value = value.get("data", value)
    return np.asarray(value, float)
