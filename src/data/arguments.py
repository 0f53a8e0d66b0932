"""What the command line of every script means beyond Hydra's own grammar: `data=` is the name of a choice in
config/data, or the folder of a frame table; and a value is a path or a text as it stands, whatever characters
are in it."""

import functools
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tempohand.console import run_clearly

SHARED = "common"  # of all choices, and none itself
# A value that Hydra is to read: quoted, a list, a mapping, a function, or with an interpolation or an escape
# of its own.
_OF_HYDRA = re.compile(r"""['"\[{]|\w+\(.*\)$|.*(\$\{|\\[\\()\[\]{}:=,])""", re.DOTALL)
_PLAIN = re.compile(r"[\w\-/?+.$%*@|: ]*", re.ASCII)  # what Hydra's grammar takes for a text without quotes


def name_data(arguments: Sequence[str], choices: str | Path) -> list[str]:
    """Hydra's arguments, in which data=FOLDER stands as the choice `table` of that folder: data=table
    data.root=FOLDER.

    choices: the folder of the named choices (config/data). A name wins over a folder of that name, which is
    written data=./NAME then. Raises ValueError for what is neither.
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
            found += ["data=table", f"data.root={_quoted(value)}"]
        else:
            raise ValueError(
                f"{argument}: it is neither the folder of a frame table nor one of {', '.join(names)}"
            )
    return found


def plain_values(arguments: Sequence[str]) -> list[str]:
    """Hydra's arguments, in which a value that its grammar would not read as a text (data.root=/data/a=b/ü,
    out=runs/(old), out=a,b) is quoted. Lists, mappings, functions, interpolations and what is quoted or
    escaped already stay as they are."""
    found = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        own = argument.startswith("-") or _OF_HYDRA.match(value) or _PLAIN.fullmatch(value)
        found.append(argument if own else f"{key}{equals}{_quoted(value)}")
    return found


def _quoted(value: str) -> str:
    """In single quotes, as Hydra reads them: backslashes count before a quote alone."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"


def by_plain_values(main: Callable) -> Callable:
    """Decorator of a script's main function, outside of Hydra's: its command line goes through
    `plain_values`."""

    @functools.wraps(main)
    def run(*config: object) -> object:
        if not config:  # Hydra reads the command line
            sys.argv[1:] = plain_values(sys.argv[1:])
        return main(*config)

    return run


def data_by_name_or_folder(choices: str | Path) -> Callable:
    """Decorator of a script's main function, outside of Hydra's: its command line goes through `name_data`
    and `plain_values`."""

    def decorate(main: Callable) -> Callable:
        plain = by_plain_values(main)

        @functools.wraps(main)
        def run(*config: object) -> object:
            if not config:
                sys.argv[1:] = run_clearly(name_data)(sys.argv[1:], choices)
            return plain(*config)

        return run

    return decorate
