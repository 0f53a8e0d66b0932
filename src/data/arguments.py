"""What `data=` means on the command line of every script: the name of a choice in config/data, or the folder of a frame table."""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tempohand.console import run_clearly

SHARED = "common"  # of all choices, and none itself


def name_data(arguments: Sequence[str], choices: str | Path) -> list[str]:
    """Hydra's arguments, in which data=FOLDER stands as the choice `table` of that folder: data=table data.root=FOLDER.

    choices: the folder of the named choices (config/data). A name wins over a folder of that name, which is written data=./NAME then. Raises
    ValueError for what is neither.
    """
    names = sorted({path.stem for path in Path(choices).glob("*.yaml")} - {SHARED})
    found = []
    for argument in arguments:
        value = argument.removeprefix("data=")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if value == argument or value in names:
            found.append(argument)
        elif "/" in value or Path(value).is_dir():
            quoted = value.replace("'", "\\'")
            found += ["data=table", f"data.root='{quoted}'"]
        else:
            raise ValueError(f"{argument}: it is neither the folder of a frame table nor one of {', '.join(names)}")
    return found


def data_by_name_or_folder(choices: str | Path) -> Callable:
    """Decorator of a script's main function, outside of Hydra's: its command line goes through `name_data`."""

    def decorate(main: Callable) -> Callable:
        @functools.wraps(main)
        def run(*config: object) -> object:
            if not config:  # Hydra reads the command line
                sys.argv[1:] = run_clearly(name_data)(sys.argv[1:], choices)
            return main(*config)

        return run

    return decorate
