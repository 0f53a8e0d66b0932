"""Starts script/train.py again and again without importing everything each time: it forks itself, ready to
run, for every run.

Reads one JSON object a line: {"arguments": [...], "log": path} starts a run and answers its process id;
{"wait": pid} answers its exit code, as subprocess gives it (negative: the signal that ended it).
"""

import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path

SCRIPT = str(Path(__file__).parents[2] / "script" / "train.py")


def wait(child: int, seconds: float = 120.0) -> int:
    """The exit code of a child; one that does not end is killed."""
    end = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)


def main() -> None:
    runpy.run_path(SCRIPT, run_name="imported")  # only imports
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            print(wait(order["wait"]), flush=True)
            continue
        child = os.fork()
        if not child:
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(log, stream)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.argv = [SCRIPT, *order["arguments"]]
            runpy.run_path(SCRIPT, run_name="__main__")
            return
        print(child, flush=True)


if __name__ == "__main__":
    main()
