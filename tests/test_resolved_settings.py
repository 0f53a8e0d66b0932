"""No setting of a runnable configuration changes unnoticed."""

import json

import pytest
from resolved_settings import DATA, RECORD, recorded_commands, resolve

COMMANDS = recorded_commands()


@pytest.fixture(scope="module")
def record() -> dict[str, dict]:
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_the_record_has_every_command(record):
    assert record.keys() == COMMANDS.keys(), "run python tests/resolved_settings.py"


@pytest.mark.parametrize("command", COMMANDS)
def test_settings_are_those_of_the_record(command, record, monkeypatch):
    for name in DATA:
        monkeypatch.delenv(f"TEMPOHAND_{name.upper()}", raising=False)
    assert resolve(command, COMMANDS[command]) == record[command], (
        "a setting changed; where that is intended run python tests/resolved_settings.py"
    )
