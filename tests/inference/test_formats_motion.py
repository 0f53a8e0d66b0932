"""glTF and BVH, read back by readers of the tests' own: what they pose is what the hand layer poses."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from export_support import FRAMES, LEFT, moving_hands, write_predictions
from scipy.spatial.transform import Rotation, Slerp

from tempohand.geometry import mirror_pose
from tempohand.hand.layer import HandLayer
from tempohand.inference.formats.registry import export_predictions
from tempohand.skeleton import MANO21_TO_OP, MANO_JOINT_NAMES

NUMBERS = {5126: "<f4", 5123: "<u2", 5121: "<u1"}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
VALIDATE = """
const validator = require(process.argv[1] + '/gltf-validator');
const bytes = new Uint8Array(require('fs').readFileSync(process.argv[2]));
validator.validateBytes(bytes).then(report => console.log(JSON.stringify(report)));
"""
NAMES = {0: "hand0_right", 1: "hand1_left"}


class Glb:
    """A binary glTF file, as its specification reads."""

    def __init__(self, path):
        content = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", content)
        size, kind = struct.unpack_from("<I4s", content, 12)
        assert (magic, version, length, kind) == (b"glTF", 2, len(content), b"JSON")
        self.json = json.loads(content[20 : 20 + size])
        assert struct.unpack_from("<I4s", content, 20 + size) == (length - 28 - size, b"BIN\0")
        self.data = content[28 + size :]
        self.nodes = self.json["nodes"]
        self.parents = {child: i for i, node in enumerate(self.nodes) for child in node.get("children", [])}

    def read(self, number: int) -> np.ndarray:
        one = self.json["accessors"][number]
        view, width = self.json["bufferViews"][one["bufferView"]], WIDTHS[one["type"]]
        kind = np.dtype(NUMBERS[one["componentType"]])
        values = np.frombuffer(self.data, kind, one["count"] * width, view["byteOffset"])
        return values.reshape(one["count"], width)

    def number(self, name: str) -> int:
        return next(i for i, node in enumerate(self.nodes) if node.get("name") == name)

    def local(self, time: float) -> list[np.ndarray]:
        """Every node's matrix against its parent at a time."""
        found = [dict(node) for node in self.nodes]
        (animation,) = self.json["animations"]
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            times, values = self.read(sampler["input"])[:, 0], self.read(sampler["output"])
            assert (np.diff(times) > 0).all() and len(times) == len(values)
            at = np.clip(time, times[0], times[-1])
            if sampler["interpolation"] == "STEP":
                value = values[np.searchsorted(times, at, side="right") - 1]
            elif channel["target"]["path"] == "rotation" and len(times) > 1:
                value = Slerp(times, Rotation.from_quat(values))(at).as_quat()
            else:
                value = np.array([np.interp(at, times, column) for column in values.T])
            found[channel["target"]["node"]][channel["target"]["path"]] = value
        matrices = []
        for node in found:
            matrix = np.eye(4)
            turn = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix()
            matrix[:3, :3] = turn * np.asarray(node.get("scale", [1, 1, 1]))
            matrix[:3, 3] = node.get("translation", [0, 0, 0])
            matrices.append(matrix)
        return matrices

    def skinned(self, name: str, time: float) -> np.ndarray:
        """Vertices of a hand's mesh at a time, metres."""
        local = self.local(time)

        def whole(node: int) -> np.ndarray:
            parent = self.parents.get(node)
            return local[node] if parent is None else whole(parent) @ local[node]

        node = self.nodes[self.number(f"{name}_mesh")]
        skin, (primitive,) = self.json["skins"][node["skin"]], self.json["meshes"][node["mesh"]]["primitives"]
        bind = self.read(skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)
        motions = np.stack([whole(joint) for joint in skin["joints"]]) @ bind
        attributes = primitive["attributes"]
        rest, total = self.read(attributes["POSITION"]).astype(float), 0
        for number in range(sum(key.startswith("JOINTS") for key in attributes)):
            joints, weights = (self.read(attributes[f"{key}_{number}"]) for key in ("JOINTS", "WEIGHTS"))
            total = total + np.einsum("vk, vkrc -> vrc", weights.astype(float), motions[joints])
        return np.einsum("vrc, vc -> vr", total, np.column_stack([rest, np.ones(len(rest))]))[:, :3]


def plain_vertices(columns: dict, number: int) -> np.ndarray:
    """The hand layer's vertices without pose correctives, in glTF's axes, m."""
    layer, rows = HandLayer(), columns["hand_id"] == number
    layer.skin.dirs[10:] = 0
    pose, trans = (torch.from_numpy(columns[name][rows]) for name in ("pose", "trans"))
    flip = torch.tensor([-1.0 if number == LEFT else 1.0, 1, 1])
    shape = torch.from_numpy(columns["shape"][rows]).mean(0).expand(len(pose), 10)
    pose = mirror_pose(pose) if number == LEFT else pose
    vertices = layer(pose, shape.contiguous(), trans * flip).vertices * flip
    return vertices.numpy() * [1, -1, -1] / 1000


@pytest.fixture(scope="module")
def columns():
    return moving_hands()


@pytest.fixture(scope="module")
def glb(columns, tmp_path_factory):
    folder = tmp_path_factory.mktemp("glb")
    return export_predictions(write_predictions(folder / "predictions.npz", columns), "glb").out


@pytest.mark.parametrize("number", FRAMES)
@pytest.mark.parametrize("shape_noise", [0.0, 0.5])
def test_glb_poses_as_the_hand_layer_without_correctives(tmp_path, number, shape_noise):
    columns = moving_hands(shape_noise=shape_noise)
    done = export_predictions(write_predictions(tmp_path / "p.npz", columns), "glb")
    file, wanted = Glb(done.out), plain_vertices(columns, number)
    times = columns["time"][columns["hand_id"] == number]
    for time, vertices in zip(times.astype(np.float32), wanted, strict=True):
        assert np.abs(file.skinned(NAMES[number], time) - vertices).max() < 1e-5  # m
    assert ("0.00 mm" in done.notes[0]) == (shape_noise == 0)


def test_glb_shows_a_hand_where_it_is_seen_alone(columns, glb):
    file = Glb(glb)
    for frame in range(10):
        time = (frame + 0.2 * (frame % 3 == 1)) / 30 + 1e-4
        for number, frames in FRAMES.items():
            scale = file.local(time)[file.number(NAMES[number])][:3, :3]
            assert np.array_equal(scale, np.eye(3) * (frame in frames)), (frame, number)


def test_glb_turns_the_short_way_between_frames(glb):
    """Readers that interpolate the numbers themselves do as those that turn."""
    file = Glb(glb)
    for sampler in file.json["animations"][0]["samplers"]:
        values = file.read(sampler["output"])
        if values.shape[1] == 4:
            assert ((values[1:] * values[:-1]).sum(axis=1) > 0).all()


def test_trimesh_opens_the_glb(glb):
    scene = trimesh.load(glb, process=False)
    assert len(scene.geometry) == 2
    for mesh in scene.geometry.values():
        assert mesh.vertices.shape == (778, 3) and mesh.faces.shape == (1538, 3)
        # the normals that were written, and the winding of either side, look outward
        assert (mesh.vertex_normals * mesh.face_normals[mesh.vertex_faces[:, 0]]).sum(axis=1).mean() > 0.9
        assert mesh.volume > 1e-4 and 0.1 < mesh.extents.max() < 0.3


def test_the_khronos_validator_finds_nothing(glb):
    """Where its npm package is: npm install -g gltf-validator."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("there is no npm")
    root = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=True).stdout.strip()
    if not Path(root, "gltf-validator").is_dir():
        pytest.skip("npm's gltf-validator is not installed")
    command = ["node", "-e", VALIDATE, root, str(glb)]
    issues = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["issues"]
    assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"]


def test_pictures_without_times_are_no_animation(tmp_path, columns):
    path = write_predictions(tmp_path / "p.npz", columns | {"time": np.zeros(12)}, ["a.png"] * 10)
    with pytest.raises(ValueError, match="without times"):
        export_predictions(path, "glb")
    assert list(tmp_path.iterdir()) == [path]


class Bvh:
    """A BVH file: the tree, offsets, channels, and the motion's lines."""

    def __init__(self, text: str):
        head, motion = text.split("MOTION\n")
        self.names, self.parents, self.offsets, self.channels, stack = [], [], [], [], []
        for line in head.splitlines():
            words = line.split()
            if words[0] in ("ROOT", "JOINT", "End"):
                self.names.append(words[1] if words[0] != "End" else f"{self.names[stack[-1]]}_end")
                self.parents.append(stack[-1] if stack else -1)
                self.channels.append([])
                stack.append(len(self.names) - 1)
            elif words[0] == "OFFSET":
                self.offsets.append([float(word) for word in words[1:]])
            elif words[0] == "CHANNELS":
                self.channels[stack[-1]] = words[2:]
                assert len(words) == 2 + int(words[1])
            elif words[0] == "}":
                stack.pop()
        frames, seconds, *lines = motion.splitlines()
        self.seconds = float(seconds.removeprefix("Frame Time: "))
        self.values = np.array([[float(word) for word in line.split()] for line in lines])
        assert len(self.values) == int(frames.removeprefix("Frames: ")) and not stack

    def pose(self) -> dict[str, np.ndarray]:
        """Every joint's places [frames, 3]."""
        values, matrices = iter(self.values.T), []
        for parent, offset, channels in zip(self.parents, self.offsets, self.channels):
            matrix = np.tile(np.eye(4), (len(self.values), 1, 1))
            matrix[:, :3, 3] = offset
            for channel in channels:
                step, value = np.tile(np.eye(4), (len(self.values), 1, 1)), next(values)
                if channel.endswith("position"):
                    step[:, "XYZ".index(channel[0]), 3] = value
                else:
                    step[:, :3, :3] = Rotation.from_euler(
                        channel[0], value[:, None], degrees=True
                    ).as_matrix()
                matrix = matrix @ step
            matrices.append(matrix if parent < 0 else matrices[parent] @ matrix)
        return {name: matrix[:, :3, 3] for name, matrix in zip(self.names, matrices)}


def test_bvh_moves_as_predicted(tmp_path, columns):
    done = export_predictions(write_predictions(tmp_path / "p.npz", columns), "bvh", tmp_path / "motion")
    files = {"hand0_right_frame000000": range(4), "hand0_right_frame000007": range(7, 10)}
    files["hand1_left_frame000002"] = range(2, 7)
    assert sorted(path.name for path in done.out.iterdir()) == [f"{name}.bvh" for name in sorted(files)]
    to_op = list(MANO21_TO_OP)
    for name, frames in files.items():
        file = Bvh((done.out / f"{name}.bvh").read_text())
        rows = np.isin(columns["frame"], frames) & (columns["hand_id"] == int(name[4]))
        wanted, posed = columns["joints"][rows] * [1, -1, -1] / 10, file.pose()
        for place, joint in enumerate(MANO_JOINT_NAMES):
            np.testing.assert_allclose(posed[joint], wanted[:, to_op.index(place)], atol=1e-3)  # .01 mm
        for number, finger in enumerate(("thumb", "index", "middle", "ring", "pinky")):
            apart = np.linalg.norm(posed[f"{finger}_3_end"] - wanted[:, 4 + 4 * number], axis=1)
            assert apart.max() < 1  # the skin's correctives move the tip's vertex
        times = columns["time"][rows]
        assert file.seconds == pytest.approx((times[-1] - times[0]) / (len(times) - 1))
        assert np.abs(np.diff(file.values[:, 3:], axis=0)).max() < 90, "an angle jumps"


def test_bvh_of_one_picture_and_of_a_locked_gimbal(tmp_path):
    columns = moving_hands({0: [0]})
    columns["pose"] = np.zeros((1, 48), np.float32)
    columns["pose"][0, 3:6] = [np.pi / 2, 0, 0]
    layer = HandLayer()
    values = [torch.from_numpy(columns[name]) for name in ("pose", "shape", "trans")]
    columns["joints"] = layer.joints(*values).numpy()
    done = export_predictions(write_predictions(tmp_path / "p.npz", columns), "bvh")
    (path,) = done.out.iterdir()
    posed, to_op = Bvh(path.read_text()).pose(), list(MANO21_TO_OP)
    for place, joint in enumerate(MANO_JOINT_NAMES):
        wanted = columns["joints"][:, to_op.index(place)] * [1, -1, -1] / 10
        np.testing.assert_allclose(posed[joint], wanted, atol=1e-3)
