"""script/train.py on a table of which one picture in twenty is damaged: it goes on where that is allowed,
says so, and stops where it is not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from tests_support import SMALL_NETWORK, hand_rows, write_table

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = [
    "--config-name=stage1-tiny",
    *SMALL_NETWORK,
    "tracker=null",
    "optim.warmup=2",
    "optim.batch_size=8",
    "optim.steps=11",  # an epoch is 10
    "log.every=1",
    "log.validate_every=11",
]
PLANTED = {"train": [3, 21, 44, 79], "val": [5]}
# name -> settings and number of processes
RUNS = {
    "default": (["data.workers=0"], 1),
    "one_worker": (["data.workers=1", "data.max_bad=0.1"], 1),
    "two_workers": (["data.workers=2", "data.max_bad=0.1"], 1),
    "two_processes": (["data.workers=0", "data.max_bad=0.1"], 2),
}
# One interpreter imports everything and is copied for each process, before it starts any thread.
CODE = """
import json, os, runpy, socket, sys, traceback

runpy.run_path(sys.argv[1], run_name="imported")
for name, (overrides, processes) in json.loads(sys.argv[2]).items():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = []
    for rank in map(str, range(processes)):
        child = os.fork()
        if not child:
            if processes > 1:
                os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(processes)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            output = os.open(f"{name}.{rank}", os.O_CREAT | os.O_WRONLY)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.argv = [sys.argv[1], *overrides, f"out={name}"]
            code = 1
            try:
                runpy.run_path(sys.argv[0], run_name="__main__")
                code = 0
            except SystemExit as exit_:
                code = exit_.code
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    open(f"{name}.code", "w").write(json.dumps(codes))
"""


class Run(NamedTuple):
    codes: list[int]
    said: str  # by the first process
    bad: list[dict]
    metrics: list[dict]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad_data")
    splits = {
        "train": [hand_rows(f"train-{k}", 20, k) for k in range(4)],
        "val": [hand_rows(f"val-{k}", 9, 100 + k) for k in range(2)],
    }
    for split, planted in PLANTED.items():
        rows = [row for sequence in splits[split] for row in sequence]
        for row in planted:
            rows[row]["image"] = rows[row]["image"][:200]
        for row in rows[:40]:
            row["source"] = "studio"
    table = write_table(folder / "table", splits)
    wanted = {
        name: ([*SMALL, f"data.root={table}", *settings], processes)
        for name, (settings, processes) in RUNS.items()
    }
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    command = [sys.executable, "-c", CODE, str(REPOSITORY / "script" / "train.py"), json.dumps(wanted)]
    subprocess.run(command, cwd=folder, env=environment, timeout=300, check=True)
    return {
        name: Run(
            json.loads((folder / f"{name}.code").read_text()),
            (folder / f"{name}.0").read_text(),
            lines(folder / name / "bad_rows.jsonl"),
            lines(folder / name / "metrics.jsonl"),
        )
        for name in RUNS
    }


def test_by_default_the_run_stops_and_says_why(runs):
    run = runs["default"]
    assert run.codes == [2] and "Traceback" not in run.said
    (line,) = [line for line in run.said.splitlines() if line.startswith("error: ")]
    for words in (
        "of the frames read of split 'train'",
        "max_bad=0.01 allows 1.0%",
        "worst source 'studio': picture cut off 2",
        "default/bad_rows.jsonl",
        "tempohand check-data",
    ):
        assert words in line
    assert 9 <= len(run.metrics) <= 10  # a whole pass was read: a share of less would be chance


@pytest.mark.parametrize("name", ["one_worker", "two_workers", "two_processes"])
def test_where_it_is_allowed_exactly_the_damaged_rows_are_left_out(runs, name):
    run = runs[name]
    assert run.codes == [0] * RUNS[name][1], run.said
    listed = {(entry["split"], entry["row"]) for entry in run.bad}
    assert listed == {(split, row) for split, rows in PLANTED.items() for row in rows} and len(run.bad) == 5
    assert {entry["reason"] for entry in run.bad} == {"picture cut off"}
    assert run.bad[0] == {
        "split": "train",
        "row": 3,
        "source": "studio",
        "sequence": "train-0",
        "frame": 3,
        "reason": "picture cut off",
    }
    assert run.said.count("bad data: left out row") == 1
    assert (
        "Evaluated on 17 samples from all" in run.said
        and "left out 1 of 18 rows of split 'val' as bad data" in run.said
    )
    assert (
        run.said.count("4 rows (studio: picture cut off 2; test: picture cut off 2), listed in") == 2
    )  # beside the validation, and at the end
    validation = run.metrics[-1]
    assert (validation["n"], validation["processes"], validation["left_out"]) == (17, RUNS[name][1], 1)


def test_workers_and_processes_change_nothing(runs):
    first, second, two = (
        [line["loss"] for line in runs[name].metrics]
        for name in ("one_worker", "two_workers", "two_processes")
    )
    assert first == second and len(first) == 12
    assert runs["one_worker"].bad == runs["two_workers"].bad == runs["two_processes"].bad
    assert two[0] == pytest.approx(first[0], rel=1e-5)
    said = [
        "frames read" + run.said.split("frames read")[-1].split(", listed")[0]
        for run in (runs["one_worker"], runs["two_processes"])
    ]
    assert said[0] == said[1]
