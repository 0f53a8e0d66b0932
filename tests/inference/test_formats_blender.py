"""The script for Blender: it compiles, its data pose the hands, and Blender, where there is one, agrees."""

import ast
import base64
import io
import json
import shutil
import subprocess

import numpy as np
import pytest
from export_support import FRAMES, moving_hands, write_predictions
from scipy.spatial.transform import Rotation

from tempohand.inference.formats.registry import export_predictions
from tempohand.skeleton import MANO21_TO_OP, MANO_JOINT_NAMES

NAMES = {0: "hand0_right", 1: "hand1_left"}
FPS = 30
CHECK = """
import json, sys, bpy
from bpy_extras.object_utils import world_to_camera_view
wanted, out = json.load(open(sys.argv[-1])), []
scene = bpy.context.scene
for name, frame in wanted:
    scene.frame_set(int(frame // 1), subframe=frame % 1)
    arm = bpy.data.objects[name]
    mesh = bpy.data.objects[name + " mesh"]
    heads = {bone.name: arm.matrix_world @ bone.head for bone in arm.pose.bones}
    tips = {bone.name: arm.matrix_world @ bone.tail for bone in arm.pose.bones}
    shape = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    out.append({
        "heads": {key: list(value) for key, value in heads.items()},
        "tips": {key: list(value) for key, value in tips.items()},
        "pixels": {k: list(world_to_camera_view(scene, scene.camera, v)) for k, v in heads.items()},
        "vertices": [list(mesh.matrix_world @ v.co) for v in shape.to_mesh().vertices],
        "hidden": mesh.hide_render,
    })
json.dump(out, open(sys.argv[-1], "w"))
"""


@pytest.fixture(scope="module")
def columns():
    return moving_hands()


@pytest.fixture(scope="module")
def script(columns, tmp_path_factory):
    path = write_predictions(tmp_path_factory.mktemp("predictions") / "p.npz", columns)
    return export_predictions(path, "blender").out


def contents(script) -> dict[str, np.ndarray]:
    tree = ast.parse(script.read_text())
    (value,) = (one.value for one in tree.body if isinstance(one, ast.Assign) and one.targets[0].id == "DATA")
    with np.load(io.BytesIO(base64.b64decode(ast.literal_eval(value)))) as archive:
        return dict(archive)


def test_the_script_compiles_and_its_data_pose_the_predicted_joints(script, columns):
    compile(script.read_text(), str(script), "exec")
    data, to_op = contents(script), list(MANO21_TO_OP)
    assert data["hands"].tolist() == list(NAMES.values()) and data["fps"] == FPS
    for number, name in NAMES.items():
        hand = {key.split("/")[1]: values for key, values in data.items() if key.startswith(f"{name}/")}
        rows = columns["hand_id"] == number
        wanted = columns["joints"][rows] * [1, -1, -1] / 1000
        assert hand["time"].tolist() == columns["time"][rows].tolist()
        turns, places = [], []
        for joint, parent in enumerate(data["parents"].tolist()):
            turn = Rotation.from_quat(hand["turns"][:, joint]).as_matrix()
            if parent < 0:
                turns.append(turn)
                places.append(hand["wrist"])
            else:
                bone = hand["joints"][joint] - hand["joints"][parent]
                turns.append(turns[parent] @ turn)
                places.append(places[parent] + turns[parent] @ bone)
            np.testing.assert_allclose(places[-1], wanted[:, to_op.index(joint)], atol=1e-5)
        np.testing.assert_allclose(hand["weights"].sum(axis=1), 1, atol=1e-5)


@pytest.mark.skipif(not shutil.which("blender"), reason="there is no Blender")
def test_blender_builds_the_predicted_hands(script, columns, tmp_path):
    check, told, to_op = tmp_path / "check.py", tmp_path / "told.json", list(MANO21_TO_OP)
    check.write_text(CHECK)
    asked = [
        (NAMES[hand], float(columns["time"][row] * FPS), row)
        for row, hand in enumerate(columns["hand_id"].tolist())
    ]
    absent = [(NAMES[0], 5.0), (NAMES[1], 0.0), (NAMES[1], 8.0)]
    told.write_text(json.dumps([*((name, at) for name, at, _ in asked), *absent]))
    scripts = ["--python", str(script), "--python", str(check)]
    subprocess.run(["blender", "--background", *scripts, "--", str(told)], check=True, timeout=300)
    answers = json.loads(told.read_text())
    up = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]) / 1000  # OpenCV's space, mm -> Blender's, m
    for (_, _, row), answer in zip(asked, answers):
        wanted, tips = columns["joints"][row] @ up.T, columns["joints"][row, 4::4] @ up.T
        pixels = columns["joints2d"][row]
        for joint, name in enumerate(MANO_JOINT_NAMES):
            place = to_op.index(joint)
            np.testing.assert_allclose(answer["heads"][name], wanted[place], atol=2e-5)
            across, above, _ = answer["pixels"][name]
            seen = [across * 640 - 0.5, (1 - above) * 480 - 0.5]
            np.testing.assert_allclose(seen, pixels[place], atol=0.1)
        for number, finger in enumerate(("thumb", "index", "middle", "ring", "pinky")):
            assert np.linalg.norm(answer["tips"][f"{finger}_3"] - tips[number]) < 0.01  # correctives
        apart = np.linalg.norm(answer["vertices"] - columns["vertices"][row] @ up.T, axis=1)
        assert apart.mean() < 2e-3 and apart.max() < 0.02  # pose correctives are left out
        assert not answer["hidden"]
    assert all(answer["hidden"] for answer in answers[len(asked) :])
    assert len(asked) == sum(map(len, FRAMES.values()))
