"""What a working Hand3D must do (docs/hand3d.md, "What must hold"): the lines of its network and training, a
test each, on a pretraining and the training after it, over a small table with masks. The lines of its data
are tests of the data's own."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hand3d_support import LAYER, SIZE, SMALL, hand3d_batch, small_hand3d, truth, with_its_labels
from omegaconf import OmegaConf
from tests_support import (
    compose_config,
    evaluate,
    hand_rows,
    load_file,
    new_accelerate_state,
    with_depth,
    write_table,
)

from tempohand import cli
from tempohand.data.loader import ClipDataset, collate
from tempohand.data.pictures import encode_mask
from tempohand.data.table import FrameTable
from tempohand.data.view import Augmentation, View
from tempohand.doctor.examine import examine
from tempohand.geometry import denormalise_pixels, normalise_pixels, project
from tempohand.hand.layer import HandLayer
from tempohand.model.hand3d_losses import PARTS, TERMS
from tempohand.model.hand3d_parameters import framed, weak_hand
from tempohand.render import rasterise
from tempohand.training.objective import combine, weights_at

ROOT = Path(__file__).parents[1]
STEPS = 10
WAYS = ("weak_perspective", "normalised", "normalised_not_detached")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Train 4 sequences, validation 1, test 1, with masks; of the first nothing is known but 3D joints."""
    splits = {}
    for number, (split, count) in enumerate((("train", 4), ("val", 1), ("test", 1))):
        rows = [hand_rows(f"{split}-{k}", 6, 30 * number + k, is_right=k != 2) for k in range(count)]
        splits[split] = [with_depth(each) for each in rows]
    for row in splits["train"][0]:
        row["joints2d_mask"] = row["joints2d_mask"] & False
        del row["mask"]
    return write_table(tmp_path_factory.mktemp("masks"), splits)


def settings(name: str, root: Path, out: Path, *more: str) -> dict:
    free = ["tracker=null", "data.workers=0", f"data.root={root}", f"out={out}", "optim.warmup=0"]
    often = [
        "log.every=1",
        f"log.validate_every={STEPS // 2}",
        f"log.checkpoint_every={STEPS // 2}",
        "log.keep=9",
    ]
    few = [f"optim.steps={STEPS}", "optim.batch_size=4", *more]
    return compose_config(name, *free, *often, *few) | {"network": SMALL}


def train(settings: dict) -> str:
    """script/train.py in this process; what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()), new_accelerate_state():
        load_file(ROOT / "script" / "train.py").main(OmegaConf.create(settings))
    return out.getvalue()


def refusal(settings: dict) -> str:
    """The line that it ends with."""
    with pytest.raises(SystemExit), contextlib.redirect_stderr(io.StringIO()) as told, new_accelerate_state():
        load_file(ROOT / "script" / "train.py").main(OmegaConf.create(settings))
    return told.getvalue()


@pytest.fixture(scope="module")
def pretrained(root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("pretrain") / "run"
    train(settings("hand3d-tiny-pretrain", root, out))
    return out


@pytest.fixture(scope="module")
def trained(root, pretrained, tmp_path_factory) -> tuple[Path, str]:
    """(folder, what was printed), from the pretraining."""
    out = tmp_path_factory.mktemp("train") / "run"
    return out, train(settings("hand3d-tiny", root, out, f"init_from={pretrained / 'checkpoint' / 'last'}"))


def lines(folder: Path, split: str = "train") -> list[dict]:
    every = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in every if line["split"] == split]


def test_1_pretraining_and_training_are_one_script(pretrained, trained):
    folder, said = trained
    assert "inherited" in said and str(pretrained) in said
    assert [len(lines(each)) for each in (pretrained, folder)] == [STEPS, STEPS]
    first, second = (lines(each)[-1] for each in (pretrained, folder))
    used = [
        {name.removeprefix("loss/") for name in line if name.startswith("loss/")} for line in (first, second)
    ]
    assert used[0] == set(PARTS)
    assert used[1] == {"joints2d", "mask", "pose_prior", "shape_prior", "joints3d_normalised"}
    assert {f"raw/{name}" for name in TERMS} <= second.keys()  # all are known of both


def test_1_a_checkpoint_of_another_encoder_is_told(root, pretrained, tmp_path):
    given = settings("hand3d-tiny", root, tmp_path / "run", f"init_from={pretrained / 'checkpoint' / 'last'}")
    given["network"] = SMALL | {"encoder": {"name": "resnet18", "weights": None}}
    assert "has the encoder 'tempohand_tiny', this Hand3D 'resnet18'" in refusal(given)


def test_2_x_is_width_and_y_is_height():
    network, batch = small_hand3d().eval(), hand3d_batch()
    pixels = project(batch.target.joints, batch.focal, batch.princpt)
    torch.testing.assert_close(batch.target.joints2d, normalise_pixels(pixels, (SIZE, SIZE)))
    right = hand3d_batch()
    right.frames.princpt = right.frames.princpt + torch.tensor([5.0, 0.0])  # the camera's axis moves along x
    camera = framed(right.focal, right.princpt, SIZE)
    target = right.target
    moved = weak_hand(network.hand, target.pose, target.shape, target.trans, *camera).translation
    still = weak_hand(
        network.hand, target.pose, target.shape, target.trans, *framed(batch.focal, batch.princpt, SIZE)
    ).translation
    expected = torch.tensor([5.0 * 256 / SIZE, 0.0]).expand_as(moved)
    torch.testing.assert_close(moved - still, expected, atol=1e-3, rtol=0)


def test_4_pretraining_is_l2_with_a_weight_a_part(root, pretrained, tmp_path):
    """By config: the weights are what is logged; absolute differences are another stage."""
    wanted = {"scale": 0.1, "translation": 0.2, "rotation": 5000.0, "pose": 1000.0, "shape": 1e5}
    for line in lines(pretrained):
        for part, weight in wanted.items():
            assert line[f"loss/{part}"] == pytest.approx(weight * line[f"raw/{part}"], rel=1e-5)
        assert line["loss"] == pytest.approx(sum(line[f"loss/{part}"] for part in wanted), rel=1e-4)
    other = compose_config("hand3d-tiny-pretrain", "stage=hand3d_pretrain_l1", "loss.pose_l1=7")["loss"]
    assert {name for name, weight in other.items() if weight} == {f"{part}_l1" for part in PARTS}
    assert other["pose_l1"] == 7
    network, batch = small_hand3d().eval(), hand3d_batch()
    terms = network.criterion(network(batch), batch)
    for part in PARTS:
        torch.testing.assert_close(terms[part].value, terms[f"{part}_l1"].value.square())


def test_5_truth_follows_augmentation(root):
    """What the loss takes for truth is the labelled hand in the crop as it is, scale and translation too: the
    hand of the true numbers is on the joints that the augmentation moved."""
    strong = Augmentation(roll=180, scale=0.3, shift=0.1)
    dataset = ClipDataset(FrameTable(root, "train"), View(SIZE, 2.2, strong), 1, seed=5)
    batch = collate([dataset[(position, row)] for position, row in enumerate(range(6, 24))])
    layer, target, camera = HandLayer(), batch.target, framed(batch.focal, batch.princpt, SIZE)
    numbers = weak_hand(layer, target.pose, target.shape, target.trans, *camera, components=45)
    hand = numbers.posed(layer, *camera)
    joints = layer(hand.rotation, hand.shape, hand.wrist).joints
    pixels = project(joints, batch.focal, batch.princpt)
    wanted = denormalise_pixels(target.joints2d, (SIZE, SIZE))
    torch.testing.assert_close(pixels, wanted, atol=0.02, rtol=0)
    assert numbers.scale.std() > 20 and numbers.translation.std(dim=0).min() > 5
    plain = ClipDataset(FrameTable(root, "train"), View(SIZE, 2.2), 1, seed=5)
    still = collate([plain[(position, row)] for position, row in enumerate(range(6, 24))])
    camera = framed(still.focal, still.princpt, SIZE)
    before = weak_hand(layer, still.target.pose, still.target.shape, still.target.trans, *camera)
    assert ((numbers.scale / before.scale - 1).abs() > 0.05).any()


@pytest.mark.parametrize("way", WAYS)
def test_9_one_key_chooses_the_3d_loss(root, tmp_path, way):
    """tests/model/test_hand3d.py looks at their gradients: what is not detached is not."""
    train(settings("hand3d-tiny", root, tmp_path / "run", f"loss.joints3d={way}", "optim.steps=1"))
    line = lines(tmp_path / "run")[0]
    assert {name for name in line if name.startswith("loss/joints3d")} == {f"loss/joints3d_{way}"}
    weight = {"weak_perspective": 1e5}.get(way, 100.0)
    assert line[f"loss/joints3d_{way}"] == pytest.approx(weight * line[f"raw/joints3d_{way}"], rel=1e-5)


def test_9_another_3d_loss_is_told(root, tmp_path):
    given = settings("hand3d-tiny", root, tmp_path / "run", "loss.joints3d=absolute")
    assert f"loss.joints3d=absolute is no choice, this network has {list(WAYS)}" in refusal(given)


def test_a_mask_of_another_size_is_told(tmp_path):
    rows = with_depth(hand_rows("odd", 2, 0))
    rows[0]["mask"] = encode_mask(np.ones((48, 64), bool))
    table = FrameTable(write_table(tmp_path, {"train": [rows]}), "train")
    with pytest.raises(
        ValueError, match=r"row 0 \(sequence odd\) .* its mask is 64 x 48 px, its row says 96 x 96"
    ):
        table.mask(0)
    assert table.mask(1).shape == (96, 96)


def test_10_the_mask_weighs_less_and_less(root, trained, tmp_path):
    """100 at first, then 10, then 1, by the share of the run; a resumed run ends as the uninterrupted one."""
    folder, _ = trained
    weights = [line["loss/mask"] / line["raw/mask"] for line in lines(folder)]
    assert weights == pytest.approx([100.0] * 3 + [10.0] * 4 + [1.0] * 3, rel=1e-5)
    again = tmp_path / "again"
    shutil.copytree(folder, again, symlinks=True)
    shutil.rmtree(again / "checkpoint" / f"step-{STEPS:08d}")
    started = json.loads((folder / "checkpoint" / "last" / "config.json").read_text())
    assert started["loss"]["mask"] == 1.0
    config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    said = train(settings("hand3d-tiny", root, again, "resume=auto", f"init_from={config['init_from']}"))
    assert f"at step {STEPS // 2}" in said
    assert [line["loss"] for line in lines(again)] == [line["loss"] for line in lines(folder)]


def test_10_a_heavy_mask_shrinks_the_hand_and_the_schedule_does_not():
    """Hands that begin at the truth and follow the losses of 2D joints and of their own mesh's mask."""
    loss = {name: compose_config("hand3d")["loss"][name] for name in ("joints2d", "mask")}
    batch = with_its_labels(hand3d_batch(mask=False))
    start, faces = truth(batch), LAYER.faces.numpy().astype(np.int32)
    cameras = zip(start.vertices[:, 0].numpy(), batch.frames.focal.numpy(), batch.frames.princpt.numpy())
    masks = [rasterise(vertices, faces, *camera, (SIZE, SIZE)).face >= 0 for vertices, *camera in cameras]
    batch.frames.mask = torch.from_numpy(np.stack(masks))[:, None]
    network = small_hand3d()

    def extent(weights: dict, steps: int = 50) -> float:
        change = torch.zeros(4, 1, 22, requires_grad=True)
        optimizer = torch.optim.Adam([change], lr=0.02)
        for step in range(steps):
            said = network._hand(start.terms["numbers"] + network.units * change, batch)
            terms = network.criterion(said, batch)
            optimizer.zero_grad()
            combine(terms, weights_at(weights, step, steps))[0].backward()
            optimizer.step()
        edges = [uv.amax(dim=-2) - uv.amin(dim=-2) for uv in (said.joints2d, batch.target.joints2d)]
        return (edges[0] / edges[1]).mean().item()

    assert extent(loss | {"mask": 100.0}) < 0.985
    assert extent(loss) > 0.993


def test_11_batch_sizes_are_by_config(root, tmp_path):
    for name, size in (("hand3d", 16), ("hand3d-pretrain", 64), ("hand3d-tiny-pretrain", 32)):
        assert compose_config(name)["optim"]["batch_size"] == size
    given = settings("hand3d-tiny", root, tmp_path / "run", "optim.steps=1", "debug.first_batches=1")
    given["optim"]["batch_size"] = 8
    assert "8 clips of 1 frame(s)" in train(given)


def test_13_pictures_of_mesh_and_joints_come_of_predict(root, trained, tmp_path):
    picture = tmp_path / "hand.png"
    cv2.imwrite(str(picture), FrameTable(root, "test").image(0)[..., ::-1])
    best = trained[0] / "checkpoint" / "best"
    arguments = [str(picture), "--checkpoint", str(best), "--box", "10,10,80,80", "--side", "right"]
    with contextlib.redirect_stdout(io.StringIO()):
        cli.main(["predict", *arguments, "--out", str(tmp_path / "hands")])
    assert (tmp_path / "hands" / "predictions.json").is_file()
    drawn = [path for path in (tmp_path / "hands").rglob("*") if path.suffix in (".png", ".jpg")]
    assert drawn


def test_it_is_evaluated_as_every_network(root, trained, tmp_path):
    best = trained[0] / "checkpoint" / "best"
    script = load_file(ROOT / "script" / "evaluate.py")
    done = evaluate(script, f"stage1={best}", f"data={root}", f"out={tmp_path / 'results'}")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert content["loss_terms"]["stage1"].keys() == {f"raw/{name}" for name in TERMS}


def test_14_the_loop_writes_no_pictures(pretrained, trained):
    """Nothing but records and checkpoints, where `out` says."""
    kinds = {".json", ".jsonl", ".yaml", ".safetensors", ".pt", ".txt", ""}
    for folder in (pretrained, trained[0]):
        found = {path.suffix for path in folder.rglob("*") if path.is_file()}
        assert found <= kinds, found


def test_the_doctor_examines_it(root, tmp_path):
    results = examine(settings("hand3d-tiny", root, tmp_path / "run"), say=lambda _: None)
    failed = [each for each in results if each.verdict == "FAILED"]
    assert not failed, failed
    names = {each.check for each in results}
    assert {
        "network: 2D = projection of 3D",
        "two processes agree with one",
        "loss terms are finite",
    } <= names
