"""A Python script for Blender that builds each hand's armature, mesh, weights and action, and the camera.

The script is blender_script.py, with the hands as a compressed .npz in it: one file, and nothing to install
in Blender. Metres; the skin is linear blend skinning, as in glb.
"""

import base64
import io
from pathlib import Path

import numpy as np

from tempohand.inference.formats.predictions import HandTrack, Predictions
from tempohand.inference.formats.rig import (
    COLOURS,
    TIP_OF,
    Motion,
    Rig,
    continuous,
    quaternions,
    require_times,
    shape_note,
    visibility,
)
from tempohand.skeleton import MANO_JOINT_NAMES, MANO_PARENTS
from tempohand.writing import write_whole

_PLACE = 'DATA = ""'
_LINE = 120  # characters


def write(predictions: Predictions, out: Path) -> list[str]:
    """Raises ValueError for several pictures without times, and OSError."""
    require_times(predictions)
    tracks, end = predictions.tracks(), float(predictions.time.max())
    arrays = {
        "hands": np.array([track.name for track in tracks]),
        "fps": np.array(predictions.fps if predictions.fps > 0 else 30.0),
        "end": np.array(end),
        "joint_names": np.array(MANO_JOINT_NAMES),
        "parents": np.array(MANO_PARENTS),
        "camera": np.concatenate(
            [predictions.image_size[0], predictions.focal[0], predictions.princpt[0]], dtype=np.float64
        ),
    }
    for track in tracks:
        arrays |= {f"{track.name}/{key}": values for key, values in _hand(track, end).items()}
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    text = base64.b64encode(packed.getvalue()).decode()
    lines = "\n".join(f'    "{text[at : at + _LINE]}"' for at in range(0, len(text), _LINE))
    script = Path(__file__).with_name("blender_script.py").read_text(encoding="utf-8")
    assert script.count(_PLACE) == 1
    write_whole(out, script.replace(_PLACE, f"DATA = (\n{lines}\n)"))
    return [
        shape_note(tracks),
        f"blender --python {out}; pose correctives are left out: the skin is linear blend skinning",
    ]


def _hand(track: HandTrack, end: float) -> dict[str, np.ndarray]:
    rig, motion = Rig.of(track), Motion.of(track)
    shown_at, seen = zip(*visibility(track, end))
    return {
        "joints": rig.joints,
        "tails": _tails(rig),
        "vertices": rig.vertices.astype(np.float32),
        "faces": rig.faces.astype(np.int32),
        "weights": rig.weights.astype(np.float32),
        "colour": np.array(COLOURS[track.is_right]),
        "time": track.time,
        "turns": continuous(quaternions(motion.rotations)).astype(np.float32),
        "wrist": motion.wrist.astype(np.float32),
        "seen_time": np.array(shown_at),
        "seen": np.array(seen),
    }


def _tails(rig: Rig) -> np.ndarray:
    """Where each joint's bone ends [16, 3]: at the next joint, the wrist's at the middle finger's knuckle."""
    ends = rig.joints.copy()
    for joint, parent in enumerate(MANO_PARENTS):
        if parent > 0:
            ends[parent] = rig.joints[joint]
    for joint, tip in TIP_OF.items():
        ends[joint] = rig.tips[tip]
    ends[0] = rig.joints[MANO_JOINT_NAMES.index("middle_1")]
    return ends
