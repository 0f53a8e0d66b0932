"""The golden run: 20 optimizer steps of both stages, on one thread in float32, from a table that lies here.

    python tests/golden/regenerate.py            writes losses.json anew: after a change that is meant to
    change training
    python tests/golden/regenerate.py --table    draws the table anew, too

README.md beside this file says what the losses are compared with, and how closely.
"""

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SCRIPT = str(HERE.parents[1] / "script" / "train.py")
TABLE, LOSSES = HERE / "table", HERE / "losses.json"
STEPS = 20
COMMON = [
    "mixed_precision=no",
    "tracker=null",
    f"data.root={TABLE}",
    "data.workers=0",
    f"optim.steps={STEPS}",
    "optim.batch_size=4",
    "optim.warmup=5",
    "log.every=1",
    f"log.validate_every={STEPS}",
    f"log.checkpoint_every={STEPS}",
]
STAGES = {
    "stage1": [
        "network.size=64",
        "network.spatial.backbone.options={stem: 16, stages: [[16, 1], [32, 1]], norm_group: 4}",
        "network.spatial.perspective={heads: 2, head_dim: 16}",
        "network.spatial.decoder={dim: 32, layers: 1, heads: 2, mlp: 32, dropout: 0.0}",
        "network.spatial.heatmap.upsample=2",
        "optim.ema=0.9",
    ],
    "stage2": [
        "network.temporal={width: 32, layers: 1, heads: 2}",
        "sampling={consecutive: 2, drop: 0.1}",
        "optim.ema=null",
        "tokens.views=2",
        "tokens.dtype=fp32",
    ],
}


def machine() -> dict[str, str]:
    """What the last digits of a loss depend on besides the code."""
    import cv2
    import llvmlite.binding
    import numpy
    import torch

    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "processor": llvmlite.binding.get_host_cpu_name(),
        "vendor": _vendor(),
        "numpy": numpy.__version__,
        "cv2": cv2.__version__,
    }


def _vendor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")), "unknown")


def train_both(folder: Path, **environment: str) -> dict[str, list[dict[str, float]]]:
    """Runs both stages and returns the lines of their records, without what the clock says."""
    fixed = {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--run", str(folder)]
    result = subprocess.run(
        command,
        env={**os.environ, **fixed, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"the golden run failed:\n{result.stderr[-3000:]}")
    return {
        stage: [_losses(line) for line in (folder / stage / "metrics.jsonl").read_text().splitlines()]
        for stage in STAGES
    }


def _losses(line: str) -> dict[str, float]:
    values = json.loads(line)
    kept = {"step", "loss", "grad_norm"} | {name for name in values if name.startswith("raw/")}
    return {name: value for name, value in values.items() if name in kept}


def _run(folder: Path) -> None:
    """Both stages, one after the other, each in a fork of a process that has imported everything."""
    runpy.run_path(SCRIPT, run_name="imported")
    for stage, settings in STAGES.items():
        more = (
            [f"init_from={folder / 'stage1' / 'checkpoint' / 'last'}", f"tokens.folder={folder / 'tokens'}"]
            if stage == "stage2"
            else []
        )
        child = os.fork()
        if not child:
            sys.argv = [
                SCRIPT,
                f"--config-name={stage}-tiny",
                *COMMON,
                *settings,
                *more,
                f"out={folder / stage}",
            ]
            runpy.run_path(SCRIPT, run_name="__main__")
            return
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            raise SystemExit(code)


def _draw_table() -> None:
    sys.path.insert(0, str(HERE.parent))
    from tests_support import hand_rows, write_table

    train = [hand_rows(f"train-{number}", 9, number, size=64, is_right=number != 2) for number in range(3)]
    write_table(TABLE, {"train": train, "val": [hand_rows("val-0", 8, 10, size=64)]})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", action="store_true", help="draw the table anew before")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        return _run(arguments.run)
    if arguments.table:
        _draw_table()
    with tempfile.TemporaryDirectory() as folder:
        losses = train_both(Path(folder))
    lines = {
        stage: "[\n  " + ",\n  ".join(json.dumps(line) for line in record) + "\n ]"
        for stage, record in losses.items()
    }
    body = ",\n ".join(f'"{stage}": {record}' for stage, record in lines.items())
    LOSSES.write_text(f'{{"machine": {json.dumps(machine())},\n {body}}}\n', encoding="utf-8")
    print(f"wrote {LOSSES}")


if __name__ == "__main__":
    main()
