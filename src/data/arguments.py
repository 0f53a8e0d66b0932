"""What the command line of every script means beyond Hydra's own grammar: `data=` is the name of a choice in
config/data, a data set of config/tables.yaml, or the folder of a frame table; and a value is a path or a text
as it stands, whatever characters are in it. Hydra itself is the script's: its store comes as an argument."""

import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tempohand.console import run_clearly
from tempohand.data.addresses import Place, place

SHARED = "common"  # of all choices, and none itself
TABLES = "tables.yaml"  # the list of public data sets, in the folder of configurations
# A value that Hydra is to read: quoted, a list, a mapping, a function, or with an interpolation or an escape
# of its own.
_OF_HYDRA = re.compile(r"""['"\[{]|\w+\(.*\)$|.*(\$\{|\\[\\()\[\]{}:=,])""", re.DOTALL)
_PLAIN = re.compile(r"[\w\-/?+.$%*@|: ]*", re.ASCII)  # what Hydra's grammar takes for a text without quotes


def public_tables(config: str | Path) -> dict[str, dict[str, Any]]:
    """The tables of public data sets, by name: root (with interpolations), train, validation, weight.

    config: the folder of configurations, whose tables.yaml lists them.
    """
    return {
        name: {"root": f"${{oc.env:{_variable(name)},${{data.folder}}/{name}}}", **splits, "weight": 1.0}
        for name, splits in _listed(config).items()
    }


def table_folder(table: str | Path, config: str | Path) -> Place:
    """The folder of a table that is named as data= names it: a public data set of tables.yaml, whose place
    is where its environment variable says or below the configurations' data.folder; anything else is the
    folder itself. config: the folder of configurations."""
    if str(table) not in _listed(config):
        return place(table)
    shared = yaml.safe_load(Path(config, "data", f"{SHARED}.yaml").read_text(encoding="utf-8"))
    return place(os.environ.get(_variable(str(table)), f"{shared['folder']}/{table}"))


def _listed(config: str | Path) -> dict[str, dict[str, str | None]]:
    """The lines of tables.yaml: a data set's name -> its splits `train` and `validation`."""
    return yaml.safe_load(Path(config, TABLES).read_text(encoding="utf-8"))


def _variable(name: str) -> str:
    """The environment variable that names the folder of a data set's table."""
    return f"TEMPOHAND_{name.upper()}"


def store_tables(store: Callable, config: str | Path) -> None:
    """Makes each public table an option of two groups in Hydra's store: `data` (data=NAME: a run on that
    table alone) and `data/tables` (one table of a mixture).

    store: ConfigStore.instance().store of Hydra's. config: the folder of configurations.
    """
    for name, table in public_tables(config).items():
        store(name, {name: table}, group="data/tables")
        store(name, {"defaults": [SHARED, {"tables": name}, "_self_"]}, group="data")


def data_names(config: str | Path) -> list[str]:
    """The names that data= takes: the files of the configurations' `data` and the lines of tables.yaml."""
    files = {path.stem for path in Path(config, "data").glob("*.yaml")} - {SHARED}
    return sorted(files | _listed(config).keys())


def name_data(arguments: Sequence[str], config: str | Path) -> list[str]:
    """Hydra's arguments, in which data=FOLDER stands as the choice `table` of that folder: data=table
    data.root=FOLDER.

    config: the folder of configurations. A name (`data_names`) wins over a folder of that name, which is
    written data=./NAME then. Raises ValueError for what is neither.
    """
    names = data_names(config)
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


def data_by_name_or_folder(config: str | Path, store: Callable) -> Callable:
    """Decorator of a script's main function, outside of Hydra's: its command line goes through `name_data`
    and `plain_values`.

    config: the folder of configurations. store: Callable.instance(), which gets the public tables.
    """
    store_tables(store, config)

    def decorate(main: Callable) -> Callable:
        plain = by_plain_values(main)

        @functools.wraps(main)
        def run(*settings: object) -> object:
            if not settings:
                sys.argv[1:] = run_clearly(name_data)(sys.argv[1:], config)
            return plain(*settings)

        return run

    return decorate
