"""`tempohand doctor`: script/doctor.py of the checkout that this package runs from. Imports nothing heavy, so
that --help is instant."""

import argparse
import subprocess
import sys
from pathlib import Path

SCRIPT = (
    Path(__file__).resolve().parents[2] / "script" / "doctor.py"
)  # configurations are the checkout's, too
EXAMPLES = """examples:
  tempohand doctor --config-name=stage1-tiny data.root=data/demo
  tempohand doctor --config-name=stage2-tiny data.root=data/demo init_from=outputs/stage1-tiny/checkpoint/best --json doctor.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand doctor`: those of script/train.py, and --json."""
    parser.description = """Checks the data and the network of a training run before hours are spent on it: under a minute for small networks.
Give it the configuration and overrides that script/train.py is about to get. Exit code 1 when a check FAILED. docs/doctor.md explains each."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="overrides of the configuration, as for script/train.py",
    )
    parser.add_argument(
        "--config-name",
        required=True,
        metavar="NAME",
        help="a training configuration: stage1-tiny, stage2-dino_large, ...",
    )
    parser.add_argument("--json", metavar="FILE", help="write the results here, too")


def run(arguments: argparse.Namespace) -> None:
    """Runs the script in a process of its own and leaves with its exit code. Raises FileNotFoundError outside
    a checkout."""
    if not SCRIPT.is_file():
        raise FileNotFoundError(
            "tempohand doctor needs the repository's script/doctor.py and config/, which are not installed: "
            "run `python script/doctor.py` in a checkout"
        )
    json = ["--json", arguments.json] if arguments.json else []
    command = [
        sys.executable,
        str(SCRIPT),
        f"--config-name={arguments.config_name}",
        *json,
        *arguments.overrides,
    ]
    raise SystemExit(subprocess.run(command, check=False).returncode)
