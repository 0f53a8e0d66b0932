"""glTF 2.0, binary: every hand a skinned mesh whose joints move at the input's own times, seen by its camera.

Metres, y up, the camera at the origin looking along -z (Khronos, glTF 2.0 specification, 3.4). The skin is
linear blend skinning with all weights of the hand model; its pose correctives are left out. Where a hand is
not seen, its node has scale 0, by steps.
"""

import json
import struct
from pathlib import Path

import numpy as np

from tempohand.inference.formats.predictions import HandTrack, Predictions
from tempohand.inference.formats.rig import (
    COLOURS,
    Motion,
    Rig,
    continuous,
    influences,
    quaternions,
    require_times,
    shape_note,
    visibility,
)
from tempohand.render import vertex_normals
from tempohand.skeleton import MANO_JOINT_NAMES, MANO_PARENTS
from tempohand.writing import write_whole

_KINDS = {"float32": 5126, "uint16": 5123, "uint8": 5121}  # glTF's componentType
_SHAPES = {(): "SCALAR", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
_ARRAY, _ELEMENTS = 34962, 34963  # bufferView.target
_NEAR_M = 0.01


class _Document:
    """The file's two chunks as they grow: the description and the numbers."""

    def __init__(self):
        self.data = bytearray()
        self.json: dict = {
            "asset": {"version": "2.0", "generator": "tempohand"},
            "scene": 0,
            "scenes": [{"nodes": []}],
            **{name: [] for name in ("nodes", "meshes", "skins", "materials", "cameras")},
            "animations": [{"name": "hands", "channels": [], "samplers": []}],
            **{name: [] for name in ("accessors", "bufferViews")},
        }

    def add(self, kind: str, **entry) -> int:
        """An entry of a list of the description; its number there."""
        self.json[kind].append(entry)
        return len(self.json[kind]) - 1

    def accessor(self, values: np.ndarray, *, target: int | None = None, bounds: bool = False) -> int:
        """Numbers [count, ...] as the data of an accessor; its number. bounds: with least and greatest."""
        values = np.ascontiguousarray(values)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": values.nbytes}
        self.data += values.tobytes() + bytes(-values.nbytes % 4)
        if target is not None:
            view["target"] = target
        entry = {
            "bufferView": self.add("bufferViews", **view),
            "componentType": _KINDS[values.dtype.name],
            "count": len(values),
            "type": _SHAPES[values.shape[1:]],
        }
        if bounds:
            entry["min"] = np.atleast_1d(values.min(axis=0)).tolist()
            entry["max"] = np.atleast_1d(values.max(axis=0)).tolist()
        return self.add("accessors", **entry)

    def animate(self, node: int, path: str, times: int, values: np.ndarray, steps: bool = False) -> None:
        """A node's translation, rotation or scale at times (an accessor); in between linear, or by steps."""
        animation = self.json["animations"][0]
        output, way = self.accessor(values.astype(np.float32)), "STEP" if steps else "LINEAR"
        animation["samplers"].append({"input": times, "output": output, "interpolation": way})
        target = {"node": node, "path": path}
        animation["channels"].append({"sampler": len(animation["samplers"]) - 1, "target": target})

    def encoded(self) -> bytes:
        """The file."""
        description = json.dumps(self.json | {"buffers": [{"byteLength": len(self.data)}]}, allow_nan=False)
        text = description.encode()
        text += b" " * (-len(text) % 4)
        head = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(self.data))
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        return head + chunks + struct.pack("<I4s", len(self.data), b"BIN\0") + self.data


def write(predictions: Predictions, out: Path) -> list[str]:
    """Raises ValueError for several pictures without times, and OSError."""
    require_times(predictions)
    document, tracks = _Document(), predictions.tracks()
    for track in tracks:
        _add_hand(document, track, end=float(predictions.time.max()))
    _add_camera(document, predictions)
    write_whole(out, document.encoded())
    return [shape_note(tracks), "pose correctives are left out: the skin is linear blend skinning"]


def _add_hand(document: _Document, track: HandTrack, end: float) -> None:
    rig, motion = Rig.of(track), Motion.of(track)
    turns = continuous(quaternions(motion.rotations))
    first = len(document.json["nodes"]) + 1
    side = "right" if track.is_right else "left"
    hand = document.add("nodes", name=track.name, children=[first])
    document.json["nodes"][hand]["extras"] = {"hand_id": track.hand_id, "side": side}
    for joint, name in enumerate(MANO_JOINT_NAMES):
        children = [first + child for child, parent in enumerate(MANO_PARENTS) if parent == joint]
        place = rig.offset(joint) if joint else motion.wrist[0]
        node = {"name": f"{track.name}_{name}", "translation": place.tolist()}
        node |= {"rotation": turns[0, joint].tolist()}
        document.add("nodes", **node, **({"children": children} if children else {}))
    bind = np.tile(np.eye(4, dtype=np.float32), (len(MANO_JOINT_NAMES), 1, 1))
    bind[:, 3, :3] = -rig.joints  # column by column: the last row here is the last column there
    matrices, joints = document.accessor(bind), list(range(first, first + len(MANO_JOINT_NAMES)))
    skin = document.add("skins", inverseBindMatrices=matrices, joints=joints, skeleton=first)
    skinned = document.add(
        "nodes", name=f"{track.name}_mesh", mesh=_add_mesh(document, track, rig), skin=skin
    )
    document.json["scenes"][0]["nodes"] += [hand, skinned]

    # two frames at one time cannot both be shown: the later one is
    seconds = track.time.astype(np.float32)
    shown = np.flatnonzero(np.append(np.diff(seconds) > 0, True))
    times = document.accessor(seconds[shown], bounds=True)
    document.animate(first, "translation", times, motion.wrist[shown])
    for joint in range(len(MANO_JOINT_NAMES)):
        document.animate(first + joint, "rotation", times, turns[shown, joint])
    moments, seen = zip(*visibility(track, end))
    times = document.accessor(np.asarray(moments, np.float32), bounds=True)
    document.animate(
        hand, "scale", times, np.repeat(np.asarray(seen, np.float32)[:, None], 3, axis=1), steps=True
    )


def _add_mesh(document: _Document, track: HandTrack, rig: Rig) -> int:
    normals = vertex_normals(rig.vertices, rig.faces)
    attributes = {
        "POSITION": document.accessor(rig.vertices.astype(np.float32), target=_ARRAY, bounds=True),
        "NORMAL": document.accessor(normals, target=_ARRAY),
    }
    for number, (joints, weights) in enumerate(influences(rig.weights)):
        attributes[f"JOINTS_{number}"] = document.accessor(joints, target=_ARRAY)
        attributes[f"WEIGHTS_{number}"] = document.accessor(weights, target=_ARRAY)
    surface = {"baseColorFactor": COLOURS[track.is_right], "metallicFactor": 0.0, "roughnessFactor": 0.7}
    material = document.add("materials", pbrMetallicRoughness=surface, doubleSided=True)
    indices = document.accessor(rig.faces.astype(np.uint16).ravel(), target=_ELEMENTS)
    primitive = {"attributes": attributes, "indices": indices, "material": material}
    return document.add("meshes", name=track.name, primitives=[primitive])


def _add_camera(document: _Document, predictions: Predictions) -> None:
    """The first frame's camera. glTF has no principal point: it is taken for the picture's centre."""
    (width, height), (fx, fy) = predictions.image_size[0].tolist(), predictions.focal[0].tolist()
    lens = {"yfov": 2 * float(np.arctan(height / (2 * fy))), "znear": _NEAR_M}
    lens["aspectRatio"] = width * fy / (height * fx)
    camera = document.add("cameras", type="perspective", perspective=lens)
    document.json["scenes"][0]["nodes"].append(document.add("nodes", name="camera", camera=camera))
