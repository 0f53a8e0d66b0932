"""`tempohand doctor` and script/doctor.py as users start them."""

import json
import os
import subprocess
import sys

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
SMALL = [
    "optim.batch_size=4",
    "network.spatial.backbone.options={stem: 16, stages: [[16, 1], [32, 1]], norm_group: 2}",
    "network.size=64",
]


def test_the_command_prints_the_table_writes_json_and_leaves_with_1_when_a_check_failed(planted, tmp_path):
    root = planted(lambda row: {"joints": row["joints"] / 1000, "trans": row["trans"] / 1000}, every=4)
    command = [
        sys.executable,
        "-m",
        "tempohand.cli",
        "doctor",
        "--config-name=stage1-tiny",
        f"data.root={root}",
        *SMALL,
    ]
    done = subprocess.run(
        [*command, "--json", "x/doctor.json"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr[-2000:]
    assert (
        "multiply joints and trans by 1000" in " ".join(done.stdout.split())
        and "FAILED" in done.stdout.splitlines()[-1]
    )
    assert json.loads((tmp_path / "x" / "doctor.json").read_text())["failed"] >= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["planted", "x"]  # nothing else is written
