"""One's own recordings with a depth camera, labelled or not.

    <recording>/{color,rgb}/NAME.{jpg,png}
    <recording>/depth/NAME.png: 16 bits, registered to the colour picture
    <recording>/intrinsics.json (or camera_intrinsic.json, intrinsic.json, metadata.json)
    <recording>/labels/NAME.json, where there are labels: a list of hands

The root is a recording, or a folder of recordings. Intrinsics of the colour camera: fx, fy, ppx, ppy (or cx,
cy) as RealSense writes them, intrinsic_matrix as Open3D's recorders do, or K as Record3D (both column by
column); besides, `depth_scale`, metres a unit (0.001), `fps` (30), and of what has no labels `side` ("right")
and `box` (xyxy px; the whole picture). A hand: `side`, and `joints` [21, 3] mm, camera space (OpenCV),
OpenPose order, or `joints2d` [21, 2] px, or `box`; null for an unknown joint.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tempohand.data.convert.frame import Camera, Converter, Frame, HandLabels, Recording, Unit, Unusable
from tempohand.data.convert.read import read_json
from tempohand.data.depth_files import BadDepth, read_depth
from tempohand.skeleton import NUM_JOINTS

PICTURES = (".jpg", ".jpeg", ".png")
COLOURS = ("color", "rgb")
INTRINSICS = ("intrinsics.json", "camera_intrinsic.json", "intrinsic.json", "metadata.json")
HELD_OUT = 5  # of the recordings every so manieth is for validation
MM_PER_METRE = 1000.0


class Rgbd(Converter):
    """Splits: train, and val: every fifth recording (of one recording alone: train)."""

    name = "rgbd"
    title = "RGB-D recordings"
    licence = "your own"
    url = "-"
    box_source = "labels, or as the intrinsics file says"
    missing = (
        "has no recording: a folder color/ (or rgb/) of pictures beside depth/ and intrinsics.json, "
        "or folders of such"
    )

    def find_units(self) -> Iterator[Unit]:
        folders = [self.root, *sorted(path for path in self.root.iterdir() if path.is_dir())]
        folders = [folder for folder in folders if _colour(folder) and (folder / "depth").is_dir()]
        for number, folder in enumerate(folders):
            names = sorted(path.name for path in _colour(folder).iterdir() if path.suffix.lower() in PICTURES)
            split = "val" if number % HELD_OUT == HELD_OUT - 1 else "train"
            if names:
                yield Unit(folder.name, len(names), (split,), (folder, names))

    def open(self, unit: Unit) -> Recording:
        folder, names = unit.payload
        about = _about(folder)
        camera, scale = _camera(about), float(about.get("depth_scale", 1 / MM_PER_METRE)) * MM_PER_METRE
        fps = float(about.get("fps", 30.0))

        def frame(number: int) -> Frame:
            picture = _colour(folder) / names[number]
            depth = _depth(folder / "depth" / f"{picture.stem}.png", scale)
            labels = folder / "labels" / f"{picture.stem}.json"
            if labels.is_file():
                hands = [_hand(entry) for entry in read_json(labels)]
            else:
                box = np.array(about.get("box", [0, 0, *depth.shape[::-1]]), float)
                hands = [HandLabels(about.get("side", "right") == "right", box=box)]
            return Frame(picture, unit.key, unit.key, number, hands, camera, number / fps, depth)

        return Recording(range(len(names)), frame)


def _colour(folder: Path) -> Path | None:
    return next((folder / name for name in COLOURS if (folder / name).is_dir()), None)


def _about(folder: Path) -> dict:
    path = next((folder / name for name in INTRINSICS if (folder / name).is_file()), None)
    if path is None:
        raise Unusable("no camera", f"'{folder}' has none of {', '.join(INTRINSICS)}")
    return read_json(path)


def _camera(about: dict) -> Camera:
    matrix = about.get("intrinsic_matrix", about.get("K"))
    if matrix is not None:
        return Camera.of_matrix(np.array(matrix, float).reshape(3, 3).T)
    centre = [about.get(name, about.get(other)) for name, other in (("ppx", "cx"), ("ppy", "cy"))]
    values = [value for value in (about.get("fx"), about.get("fy"), *centre) if value is not None]
    if len(values) < 4:
        raise Unusable(
            "no camera", f"the intrinsics file has {sorted(about)}: fx, fy, ppx and ppy are needed"
        )
    return Camera.of_values(*(float(value) for value in values))


def _depth(path: Path, scale: float) -> np.ndarray:
    """mm. Raises Unusable for a file that is missing, not of 16 bits, or in metres."""
    if not path.is_file():
        raise Unusable("depth missing", path.name)
    try:
        return read_depth(path, scale, "in intrinsics.json by depth_scale how many metres a unit is")
    except BadDepth as error:
        raise Unusable(error.reason, str(error)) from None


def _hand(entry: dict) -> HandLabels:
    def points(name: str, dim: int) -> np.ndarray | None:
        if entry.get(name) is None:
            return None
        unknown = [None] * dim
        return np.array([unknown if point is None else point for point in entry[name]], float).reshape(
            NUM_JOINTS, dim
        )

    if entry.get("side") not in ("right", "left"):
        raise Unusable("damaged annotation", f"a hand's side is '{entry.get('side')}', not right or left")
    box = None if entry.get("box") is None else np.array(entry["box"], float)
    return HandLabels(entry["side"] == "right", points("joints", 3), points("joints2d", 2), box=box)
