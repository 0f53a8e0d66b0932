"""Commands that run a file of the folder script/: train, evaluate, prepare and doctor, whose settings are
Hydra's, and bench. The script runs in this process, as `python script/NAME.py` would.
"""

import argparse
import re
import runpy
import sys
from pathlib import Path

import tempohand

# Beside the package in a checkout, inside of it where a wheel was installed; so is config/.
_PACKAGE = Path(tempohand.__file__).resolve().parent
_HOME = next((place for place in (_PACKAGE, _PACKAGE.parent) if (place / "script").is_dir()), _PACKAGE)
SCRIPTS = _HOME / "script"
CONFIGS = _HOME / "config"

FOLDER_HELP = "a frame table: the folder with table.json, or a data set's name as data= takes it"
TABLE_HELP = f"{FOLDER_HELP}, or an address (docs/scale.md)"
TRAINED = "base"  # what configurations of training runs rest on
SYNTHETIC = "synthetic"  # and those of synthetic tables


def run_script(name: str, arguments: list[str]) -> None:
    """Runs script/NAME.py with these arguments. Raises what it raises: SystemExit for a user's mistake."""
    sys.argv = [f"{name}.py", *arguments]
    sys.path.insert(0, str(SCRIPTS))
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


def configurations(base: str) -> list[str]:
    """Names that --config-name takes: of the files in config/ that have `base`, or a file of the folder
    `base`, among their defaults, or have a file there that has."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in CONFIGS.glob("*.yaml")}
    made_of = {name: re.findall(r"^  - ([\w/-]+)", text, re.MULTILINE) for name, text in texts.items()}

    def rests_on_base(name: str) -> bool:
        return any(
            base in (part, part.split("/")[0]) or rests_on_base(part) for part in made_of.get(name, [])
        )

    return sorted(filter(rests_on_base, made_of))


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
