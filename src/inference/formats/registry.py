"""The formats that predictions are exported to, by name. Each is a module beside this one with
`write(predictions, out)`, which writes whole files and returns lines that a user should know; those with
`pictures` take the input's path, too, or None."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class ExportFormat(NamedTuple):
    """What predictions can be exported to."""

    summary: str  # a line for lists of formats
    ending: str  # of the default output's name, after that of the predictions
    pictures: bool = False  # whether it holds the input's pictures


FORMATS = {
    "glb": ExportFormat("skinned animated meshes, glTF 2.0 (Blender, game engines, browsers)", ".glb"),
    "bvh": ExportFormat("a skeleton's motion, a folder with a file per hand and unbroken stretch", "-bvh"),
    "csv": ExportFormat("a table, a row per hand and frame", ".csv"),
    "mediapipe": ExportFormat(
        "21 landmarks as of MediaPipe's hand landmarker, JSON lines", ".mediapipe.jsonl"
    ),
    "coco": ExportFormat("2D key points as of COCO-WholeBody", ".coco.json"),
    "openxr": ExportFormat("26 joint poses as of XR_EXT_hand_tracking", ".openxr.json"),
    "webxr": ExportFormat("25 joint poses as of WebXR hand input", ".webxr.json"),
    "mano": ExportFormat("arguments of smplx.MANO", ".mano.npz"),
    "blender": ExportFormat("a script that builds armatures, meshes and actions in Blender", "-blender.py"),
    "usd": ExportFormat("UsdSkel meshes, skeletons and animations (needs usd-core)", ".usdc"),
    "robot": ExportFormat("joint angles of LEAP, Allegro and Shadow hands (needs dexi-rs)", "-robot"),
    "lerobot": ExportFormat(
        "a LeRobot v3.0 data set, an episode per hand and unbroken stretch", "-lerobot", True
    ),
}


@dataclass(frozen=True)
class Exported:
    """What an export made."""

    out: Path  # a file, or for bvh, robot and lerobot a folder
    predictions: int
    hands: int
    notes: list[str]

    def lines(self) -> list[str]:
        """What was written, and what a user should know of it."""
        return [f"wrote {self.out} (hands: {self.hands}, predictions: {self.predictions})", *self.notes]


def export_predictions(
    path: str | Path,
    to: str,
    out: str | Path | None = None,
    hand: str | Path | None = None,
    pictures: str | Path | None = None,
) -> Exported:
    """Writes a predictions.npz in another format.

    to: a key of FORMATS. out: default beside the predictions, by the format's ending; a file that is there is
    replaced. hand: the hand model that the network was trained with (default: the open hand). pictures: of a
    format that holds some, the input that the predictions are of (default: the file of that name beside them
    or their folder, if there is one). Raises ValueError for an unknown format and whatever `Predictions.read`
    and writing.py raise; nothing is written then.
    """
    if to not in FORMATS:
        raise ValueError(f"`to` is a format: {', '.join(FORMATS)}; not '{to}'")
    from tempohand.inference.formats.predictions import Predictions  # torch: not for a list of the formats

    path = Path(path)
    out = path.with_name(path.stem + FORMATS[to].ending) if out is None else Path(out)
    predictions = Predictions.read(path, hand)
    if out.exists() and out.samefile(path):
        raise ValueError(f"`out` '{out}' is the predictions' own file")
    more = {}
    if FORMATS[to].pictures:
        more["pictures"] = Path(pictures) if pictures else predictions.beside(path)
    elif pictures:
        raise ValueError(f"`pictures` are for lerobot: the format {to} holds none")
    notes = importlib.import_module(f"tempohand.inference.formats.{to}").write(predictions, out, **more)
    return Exported(out, len(predictions.frame), len(predictions.tracks()), notes)
