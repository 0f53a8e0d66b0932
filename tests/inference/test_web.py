"""The page's own maths, run by node, against the package's; and the folder that the command writes."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

from tempohand import cli
from tempohand.batch import Frames
from tempohand.data.clips import lookback
from tempohand.data.view import View, warp
from tempohand.geometry import rotation_about_z
from tempohand.inference.history import Seen, clip_of, follow
from tempohand.inference.palm_finder import enlargements, fit
from tempohand.inference.tracker import SMOOTHING, Detection, Tracker
from tempohand.inference.web_page import ORT_FILES, ORT_VERSION, PAGE
from tempohand.model.hand_crops import square_of_landmarks, square_of_palm
from tempohand.model.palms import palms_of
from tempohand.model.upright import LEAST_TURN, TURN_STEPS, turn_upright, turned_frames

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
MODULES = ("boxes", "finder", "geometry", "history", "palms", "picture", "predictor", "squares", "tracker")
ABOUT = {
    "crop": {"height": 64, "width": 64, "expansion": 1.5},
    "lookback": lookback(7).tolist(),
    "history_s": {"most_age": 0.9, "most_gap": 0.4, "least_step": 0.017},
    "features": {"token": 5, "readings": [21, 4]},
    "upright": {"turns": True, "least_radians": LEAST_TURN, "steps_a_radian": TURN_STEPS, "most_times": 2},
}


@pytest.fixture(scope="module")
def js(tmp_path_factory):
    """js(body, **values): what an asynchronous JavaScript function returns, whose names are the modules and
    the values; arrays as nested lists, pictures as Picture."""
    folder = tmp_path_factory.mktemp("page")
    for path in PAGE.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "run.mjs").write_text(
        "".join(f'import * as {name} from "./{name}.js";\n' for name in MODULES)
        + """import { readFileSync } from "node:fs";
const { body, values } = JSON.parse(readFileSync(0));
for (const [key, value] of Object.entries(values))
  if (value?.data) values[key] = new picture.Picture({ ...value, data: Uint8ClampedArray.from(value.data) });
const modules = { MODULES };
const names = [...Object.keys(modules), ...Object.keys(values)];
const call = new Function(...names, `return (async () => { ${body} })()`);
const found = await call(...Object.values(modules), ...Object.values(values));
process.stdout.write(JSON.stringify(found, (_, value) => ArrayBuffer.isView(value) ? [...value] : value));
""".replace("MODULES", ", ".join(MODULES))
    )

    def run(body: str, **values):
        given = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in values.items()}
        result = subprocess.run(
            [NODE, str(folder / "run.mjs")],
            input=json.dumps({"body": body, "values": given}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr[-2000:]
        return json.loads(result.stdout)

    return run


def picture(image: np.ndarray) -> dict:
    """As ImageData."""
    height, width = image.shape[:2]
    data = np.dstack([image, np.full((height, width), 255, np.uint8)])
    return {"width": width, "height": height, "data": data.ravel().tolist()}


def noise(height: int, width: int) -> np.ndarray:
    """Blocks and single pixels."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 200, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)
    return (blocks[:height, :width] + rng.integers(0, 55, (height, width, 3))).astype(np.uint8)


def assert_same_picture(found: list, expected: np.ndarray) -> None:
    """Of whole grey values, which differ by one where a mean lies on the edge between two."""
    difference = np.abs(np.array(found).reshape(expected.shape).astype(int) - expected.astype(int))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.005


@needs_node
@pytest.mark.parametrize("scale", [1.7, 1.0, 0.62, 0.45, 0.3, 0.13])
@pytest.mark.parametrize(("angle", "mirrored"), [(0.0, False), (0.7, False), (-2.0, True)])
def test_crops_hold_the_same_pixels(js, scale, angle, mirrored):
    image = noise(61, 94)
    matrix = np.diag([scale, scale, 1.0]) @ rotation_about_z(torch.tensor(angle).double()).numpy()
    matrix = matrix @ np.diag([-1.0 if mirrored else 1.0, 1, 1])
    matrix[:2, 2] = np.array([12.34567, 15.12345]) - matrix[:2, :2] @ [
        40.2,
        30.7,
    ]  # so that it reaches beyond
    found = js("return picture.warp(image, map, 40, 32)", image=picture(image), map=matrix[:2].ravel())
    assert_same_picture(found, warp(image, matrix, (32, 40)).transpose(2, 0, 1))


@needs_node
@pytest.mark.parametrize("is_right", [True, False])
def test_a_hands_crop_and_its_camera(js, is_right):
    image, box = noise(90, 120), [31.5, 20.0, 71.25, 66.0]
    image_there, placement = View(64, 1.5).crop(
        [image],
        torch.tensor([[150.0, 150.0]]),
        torch.tensor([[59.5, 44.5]]),
        torch.tensor([box]),
        is_right,
    )
    found = js(
        "return predictor.cropOf(image, {focal: 150, princpt: [59.5, 44.5]}, box, isRight, about.crop)",
        image=picture(image),
        box=box,
        isRight=is_right,
        about=ABOUT,
    )
    assert_same_picture(found["image"], image_there[0].numpy())
    np.testing.assert_allclose([found["focal"]] * 2, placement.focal[0], rtol=1e-6)
    np.testing.assert_allclose(found["princpt"], placement.princpt[0], rtol=1e-6)


@needs_node
def test_crops_are_turned_upright_alike(js):
    rng = np.random.default_rng(1)
    readings = torch.from_numpy(rng.normal(size=(40, 21, 4))).float()
    features = torch.cat([torch.zeros(40, 5), readings.flatten(1)], dim=1)
    turns = js(
        "return features.map((one) => predictor.turnUpright(one, about))", features=features, about=ABOUT
    )
    np.testing.assert_allclose(turns, turn_upright(readings), atol=1e-9)
    assert 0 < np.count_nonzero(turns) < len(turns)

    image = torch.from_numpy(noise(48, 64)).permute(2, 0, 1)[None]
    for turn in (1.25, -2.5):
        camera = torch.tensor([[200.0, 200.0]]), torch.tensor([[80.0, 10.0]])
        frames = Frames((48, 64), *camera, torch.zeros(1).double(), image=image)
        expected = turned_frames(frames, torch.tensor([turn]))
        found = js(
            "return predictor.turned({image, focal: 200, princpt: [80, 10]}, turn, {height: 48, width: 64})",
            image=image.flatten(),
            turn=turn,
        )
        assert_same_picture(found["image"], expected.image[0].numpy())
        np.testing.assert_allclose(found["princpt"], expected.princpt[0], rtol=1e-5)


@needs_node
def test_palms_are_decoded_and_suppressed_alike(js):
    height, width = 96, 128
    rng = np.random.default_rng(2)
    count = (height // 8) * (width // 8) * 2 + (height // 16) * (width // 16) * 6
    scores = torch.from_numpy(rng.normal(-3, 2, (1, count))).float()
    coordinates = torch.from_numpy(rng.normal(0, 8, (1, count, 18))).float()
    coordinates[..., 2:4] = 40 + coordinates[..., 2:4]
    (expected,) = palms_of(scores, coordinates, (height, width), 0.5)
    found = js(
        "return palms.palmsOf(scores, coordinates, 128, 96, .5)",
        scores=scores[0],
        coordinates=coordinates.flatten(),
    )
    assert len(found) == len(expected.score) > 3
    for name in ("score", "box", "keypoints"):
        np.testing.assert_allclose([one[name] for one in found], getattr(expected, name), atol=1e-3)

    squares = square_of_palm(expected.box.double(), expected.keypoints.double())
    maps = js(
        "return palms.map((one) => squares.squareMap(squares.squareOfPalm(one), 224))".replace(
            "palms", "found"
        ),
        found=found,
    )
    np.testing.assert_allclose(maps, squares.homography()[:, :2].flatten(1), atol=1e-2)


@needs_node
def test_squares_around_landmarks(js):
    joints = torch.from_numpy(np.random.default_rng(3).uniform(0, 300, (5, 21, 2)))
    found = js(
        "return joints.map((one) => squares.squareMap(squares.squareOfLandmarks(one), 224))", joints=joints
    )
    expected = square_of_landmarks(joints).homography()
    np.testing.assert_allclose(found, expected[:, :2].flatten(1), atol=1e-6)


@needs_node
@pytest.mark.parametrize("tiles", [1, 3])
def test_the_finder_looks_at_the_same_pictures(js, tiles):
    sizes = js("return new finder.Finder(null, {tiles}).enlargements", tiles=tiles)
    np.testing.assert_allclose(sizes, enlargements(tiles))
    image = noise(70, 301)
    for enlargement in sizes:
        found = js(
            """const {width, height, map} = finder.fit(image, enlargement);
            return picture.warp(image, map, width, height)""",
            image=picture(image),
            enlargement=enlargement,
        )
        assert_same_picture(found, fit(image, enlargement)[0][0].numpy())


@needs_node
@pytest.mark.parametrize("rate", [10, 30, 120])
def test_histories_hold_the_same_frames(js, rate):
    rng = np.random.default_rng(rate)
    times = np.cumsum(rng.exponential(1 / rate, 60))
    times[45:] += 0.5  # a pause
    sides = np.arange(60) < 52
    boxes = np.tile([0.0, 0.0, 0.2, 0.2], (60, 1)) + np.cumsum(rng.normal(0, 0.02, (60, 1)), axis=0)
    boxes[30:] += 5.0  # a jump
    found = js(
        """const clips = [];
        let known = [];
        times.forEach((time, number) => {
          known = history.follow(known, {time, number, isRight: sides[number], rays: boxes[number]}, about);
          const {frames, real} = history.clipOf(known, about);
          clips.push([frames.map((one) => one.number), real]);
        });
        return clips""",
        times=times,
        sides=sides,
        boxes=boxes,
        about=ABOUT,
    )
    known = ()
    for number, (time, side, box) in enumerate(zip(times, sides.tolist(), boxes)):
        seen = Seen({"number": torch.tensor(number)}, np.ones(2), np.ones(2), float(time), side, box)
        known = follow(known, seen, 7)
        plan = clip_of(known, 7)
        numbers = [int(known[plan.rows[place]].given["number"]) for place in plan.clips[0]]
        assert found[number] == [numbers, plan.mask[0].tolist()], number


@needs_node
def test_hands_keep_their_numbers_and_sides(js):
    """Two hands that come near each other, in changing order, with sides that are not always clear; then one
    is gone for longer than a gap."""
    rng, frames = np.random.default_rng(4), []
    for step in range(40):
        pair = [
            {"box": [100.0 + 3 * step, 50, 180.0 + 3 * step, 140], "isRight": True, "side": 1.0},
            {"box": [330.0 - 2 * step, 60, 410.0 - 2 * step, 150], "isRight": False, "side": 0.0},
        ]
        for one in pair:
            if rng.random() < 0.2:
                del one["isRight"]
        frames.append([pair[k] for k in rng.permutation(2)] if step not in range(15, 35) else pair[:1])
    found = js(
        """const hands = new tracker.Tracker(0.4);
        return frames.map((found, k) => hands.update(k / 30, found))""",
        frames=frames,
    )
    tracker = Tracker(smoothing=SMOOTHING)
    for step, frame in enumerate(frames):
        boxes = [Detection(np.array(one["box"]), one.get("isRight")) for one in frame]
        expected = tracker.update(step / 30, boxes)
        assert [(one["hand"], one["isRight"]) for one in found[step]] == [
            (one.hand, one.is_right) for one in expected
        ]
        np.testing.assert_allclose([one["box"] for one in found[step]], [one.box for one in expected])


@needs_node
def test_a_left_hand_is_the_mirror_image_of_a_right_one(js):
    """With networks that say of a crop what depends on its every pixel."""
    image, box = noise(80, 110), [30.0, 20.0, 75.0, 60.0]
    mirrored = [109 - box[2], box[1], 109 - box[0], box[3]]
    found = js(
        """const networks = {about, run: async (name, {image, features, princpt}) => {
          const values = (name === "encode" ? image : features)[1];
          const sum = values.reduce((all, one, k) => all + one * (1 + k % 97), 0) % 1000;
          const numbers = (count) => Float32Array.from({length: count}, (_, k) => Math.sin(sum + k));
          return name === "encode" ? {features: numbers(89)} : {pose: numbers(48), shape: numbers(10),
            trans: numbers(3), joints: numbers(63), vertices: numbers(63), joints2d: numbers(42)};
        }};
        const camera = {focal: 140, princpt: [54.5, 39.5]};
        const one = new predictor.Predictor(networks), other = new predictor.Predictor(networks);
        return [await one.push(right, camera, 0, {hand: 0, isRight: true, box}),
          await other.push(left, camera, 0, {hand: 0, isRight: false, box: mirrored})]""",
        right=picture(image),
        left=picture(image[:, ::-1]),
        box=box,
        mirrored=mirrored,
        about=ABOUT,
    )
    right, left = ({key: np.array(value) for key, value in one.items()} for one in found)
    for name in ("trans", "joints", "vertices"):
        np.testing.assert_allclose(left[name] * [-1, 1, 1], right[name])
    np.testing.assert_allclose(left["pose"].reshape(-1, 3) * [1, -1, -1], right["pose"].reshape(-1, 3))
    np.testing.assert_allclose([109, 0] + left["joints2d"] * [-1, 1], right["joints2d"], atol=1e-9)


@needs_node
@pytest.mark.parametrize("path", sorted(PAGE.glob("*.js")), ids=lambda path: path.name)
def test_every_file_is_javascript(path, tmp_path):
    copy = tmp_path / f"{path.stem}.mjs"
    shutil.copy(path, copy)
    result = subprocess.run([NODE, "--check", str(copy)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert max(len(line) for line in path.read_text().splitlines()) <= 110


def test_the_page_is_written_with_all_that_it_names(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    dist = tmp_path / "dist"
    dist.mkdir()
    words = ["web", "--checkpoint", "tempohand-tiny", "--out", str(tmp_path / "page")]
    with pytest.raises(SystemExit):
        cli.main([*words, "--ort", str(dist)])
    assert not (tmp_path / "page").exists()
    for name in ORT_FILES:
        (dist / name).write_text(name)
    cli.main([*words, "--ort", str(dist)])
    names = {path.name for path in (tmp_path / "page").iterdir()}
    graphs = json.loads((tmp_path / "page" / "tempohand.json").read_text())["graphs"]
    own = {path.name for path in PAGE.iterdir()}
    assert names == own | set(ORT_FILES) | {graph["file"] for graph in graphs.values()} | {
        "tempohand.json",
        "LICENSE.mediapipe",
    }
    page = (tmp_path / "page" / "index.html").read_text()
    assert 'data-ort="./"' in page and "$" not in page and ORT_VERSION not in page
