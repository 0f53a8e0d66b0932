"""Commands that run a file of the folder script/: train, evaluate, prepare and doctor, whose settings are
Hydra's, and bench. The script runs in this process, as `python script/NAME.py` would.
"""

import argparse
import runpy
import sys
from pathlib import Path

import tempohand

# Beside the package in a checkout, inside of it where a wheel was installed; so is config/.
_PACKAGE = Path(tempohand.__file__).resolve().parent
_HOME = next((place for place in (_PACKAGE, _PACKAGE.parent) if (place / "script").is_dir()), _PACKAGE)
SCRIPTS = _HOME / "script"
CONFIGS = _HOME / "config"

TABLE_HELP = "a frame table: the folder with table.json, or a data set's name as data= takes it"
PREPARED = "synthetic-"  # begins the names of configurations that make a table
PARTS = ("base", "quiet", "tables")  # files of config/ that are no configuration by themselves
NOT_TRAINED = ("evaluate", "prepare")


def run_script(name: str, arguments: list[str]) -> None:
    """Runs script/NAME.py with these arguments. Raises what it raises: SystemExit for a user's mistake."""
    sys.argv = [f"{name}.py", *arguments]
    sys.path.insert(0, str(SCRIPTS))
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


def configurations() -> list[str]:
    """Names that --config-name takes, of every script."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem not in PARTS)


def training_configurations() -> list[str]:
    """Names that --config-name takes for a training run."""
    return [name for name in configurations() if name not in NOT_TRAINED and not name.startswith(PREPARED)]


def describe_settings(
    parser: argparse.ArgumentParser, *, description: str, keys: dict[str, str], examples: str
) -> None:
    """Fills the page that --help prints of a command whose settings are KEY=VALUE.

    keys: the most used ones, each with a line that says what it is.
    """
    parser.usage = f"{parser.prog} [--config-name=NAME] [KEY=VALUE ...]"
    parser.description = description
    width = max(map(len, keys))
    lines = [f"  {key:{width}}  {meaning}" for key, meaning in keys.items()]
    parser.epilog = "\n".join(
        ["settings used most:", *lines, "", examples, "", "--cfg job prints every setting and its value."]
    )
