"""Fixtures of the fault suite: runs to disturb, and one that nothing disturbed."""

import subprocess
import sys
from pathlib import Path

import pytest
from faults_support import ENVIRONMENT, SMALL, Run


@pytest.fixture(scope="session")
def start(table_root):
    """start(out, *overrides): a run of a small Stage 1."""
    command = [sys.executable, str(Path(__file__).with_name("zygote.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as zygote:

        def go(out: Path, *overrides: str) -> Run:
            return Run(
                zygote,
                out,
                ["--config-name=stage1-tiny", *SMALL, f"data.root={table_root}", *overrides, f"out={out}"],
            )

        yield go
        zygote.stdin.close()


@pytest.fixture(scope="session")
def uninterrupted(start, tmp_path_factory) -> Path:
    """The folder of a run that nothing disturbed."""
    run = start(tmp_path_factory.mktemp("faults") / "uninterrupted")
    assert run.wait() == 0, run.said()[-3000:]
    return run.out
