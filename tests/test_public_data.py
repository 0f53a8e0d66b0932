"""From folders of every public data set to a training step: script/prepare.py's way for each, then both
stages on a mixture of all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from own_support import WRITERS, marked_hands
from tests_support import CONFIG, SMALL_NETWORK, compose_config, load_file

from tempohand.data.arguments import public_tables
from tempohand.data.convert.registry import CONVERTERS
from tempohand.data.parallel_jobs import LocalPool
from tempohand.hand.files import OPEN_HAND

ROOT = Path(__file__).parents[1]
MIXED = (
    "freihand",
    "interhand",
    "ho3d_v3",
    "dexycb",
    "hot3d",
    "arctic",
    "assemblyhands",
    "rhd",
    "stb",
    "coco_wholebody",
    "panoptic",
    "mpii_nzsl",
)
OWN = ("coco_keypoints", "labelme", "labelstudio", "cvat", "csv")
MORE = (
    "ho3d_v2",
    "hamer_tars",
    "real_hands",
    "rgbd",
    "unified_json",
    *OWN,
)  # beside those of mix_images.yaml
TRAINABLE = (*MIXED, *MORE)


def folder_of(name: str, tmp: Path, tmp_path_factory) -> Path:
    """The data set's folder in its own format, as its converter's test makes it."""
    if name in OWN:
        WRITERS[name](tmp, marked_hands(tmp))
        return tmp
    file = {"ho3d_v2": "ho3d", "ho3d_v3": "ho3d", "mpii_nzsl": "panoptic"}.get(name, name)
    tests = load_file(ROOT / f"tests/data/convert/test_{file}.py")
    if file == "ho3d":
        tests.write(tmp, {"ho3d_v2": ".png", "ho3d_v3": ".jpg"}[name])
        return tmp
    if name == "interhand":
        tests.write_split(tmp / "InterHand2.6M_5fps_batch1", "train", 0)
        return tmp / "InterHand2.6M_5fps_batch1"
    if name == "assemblyhands":
        tests.write_split(tmp, "train", 0)
        return tmp
    if name == "hot3d":
        tests.write_clip(tmp / "train_quest3/clip-001849.tar", tests.QUEST, tests.hands.__wrapped__())
        return tmp
    fixture = (
        tests.made.__wrapped__(tmp_path_factory) if hasattr(tests, "made") else tests.folder.__wrapped__(tmp)
    )
    return fixture[0] if isinstance(fixture, tuple) else fixture


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Each data set's table below one folder, made by script/prepare.py's own function; {name: its largest
    split}."""
    prepare, out, splits = load_file(ROOT / "script/prepare.py"), tmp_path_factory.mktemp("tables"), {}
    for name in TRAINABLE:
        root = folder_of(name, tmp_path_factory.mktemp(name), tmp_path_factory)
        more = [f"options={{labels: {root}/labels}}"] if name == "real_hands" else []
        settings = compose_config(
            "prepare",
            *more,
            f"dataset={name}",
            f"root={root}",
            f"out={out / name}",
            f"hand={OPEN_HAND}",
        )
        prepare.prepare_public(settings.pop("dataset"), settings, LocalPool(1))
        index = json.loads((out / name / "table.json").read_text())
        splits[name] = max(index["splits"], key=lambda split: len(index["splits"][split]))
    return out, splits


def train(stage: int, table_root, tables, out: Path, *overrides: str) -> str:
    """Two steps on all tables and, for sequences that are long enough, our own."""
    folder, splits = tables
    own = f"+data.tables.own={{root: {table_root}, train: train, validation: val, weight: 0.2}}"
    choices = [
        f"data.tables.{name}.{key}"
        for name, split in splits.items()
        for key in (f"train={split}", "validation=null")
    ]
    settings = [
        f"--config-name=stage{stage}-tiny",
        "data=mix_images",
        f"+data/tables@data.tables=[{','.join(MORE)}]",
        f"data.folder={folder}",
        own,
    ]
    settings += [
        *choices,
        *SMALL_NETWORK,
        f"network.hand={OPEN_HAND}",
        f"out={out}",
        "tracker=null",
        "data.workers=0",
        "data.validation_rows=8",
    ]
    settings += [
        "data.balance.floor=5",
        "optim.steps=2",
        "optim.batch_size=32",
        "optim.warmup=1",
        "log.every=1",
        "log.validate_every=2",
    ]
    settings += ["log.checkpoint_every=2", "data.filter.min_box=4", *overrides]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "script/train.py"), *settings]
    done = subprocess.run(
        command, cwd=out.parent, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_every_data_set_can_be_trained_on():
    missing = set(CONVERTERS) - set(TRAINABLE)
    assert missing == {"dexter_object", "egodexter"}  # fingertips to evaluate on
    assert public_tables(CONFIG).keys() == set(TRAINABLE)
    mixture = compose_config("stage1-dino_large", "data=mix_images")["data"]["tables"]
    assert tuple(mixture) == MIXED


def test_both_stages_train_on_a_mixture_of_all_data_sets(tables, table_root, tmp_path):
    said = train(1, table_root, tables, tmp_path / "one")
    account = {
        line.split()[0]: line.split()
        for line in said.splitlines()
        if line.split() and line.split()[0] in (*TRAINABLE, "own")
    }
    assert account.keys() == {*TRAINABLE, "own"} and all(int(line[3]) > 0 for line in account.values())
    shares = {name: float(line[4].rstrip("%")) for name, line in account.items()}
    assert sum(shares.values()) == pytest.approx(100, abs=1) and shares["dexycb"] == pytest.approx(
        shares["arctic"], abs=0.2
    )
    best = f"init_from={tmp_path / 'one/checkpoint/best'}"
    said = train(
        2,
        table_root,
        tables,
        tmp_path / "two",
        best,
        "network.temporal={width: 32, layers: 1, heads: 2}",
        "tokens.views=1",
        "sampling.consecutive=2",
    )
    single = [line for line in said.splitlines() if line.startswith(("freihand ", "rhd ", "coco_wholebody "))]
    assert len(single) == 3 and all(
        "nothing is kept" in line for line in single
    )  # single pictures are no clips
    assert "best wrist-relative MPJPE on validation" in said
