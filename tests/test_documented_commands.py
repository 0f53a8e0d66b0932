"""Every command that a document shows can be typed: the command exists, takes these arguments, and finds
these settings. (What the commands do is tested elsewhere.)"""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from tests_support import CONFIG

from tempohand import cli
from tempohand.data.arguments import name_data, plain_values, store_tables

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]
HISTORY = {"docs/log.md", "docs/benchmarks.md"}  # their commands are of the day of their dates
LEFT_OUT = re.compile(r"\.\.\.|\[|\]|\||NAME|<|\$|`")  # not to be typed as it stands
PREFIX = re.compile(r"^(?:\.venv/bin/)?(?:accelerate launch (?:--\S+ )*)?(?:python )?")
BY_DEFAULT = {"train": "stage1-tiny", "doctor": "stage1-tiny"}  # configurations; the others' are their own


def shown(document: str) -> list[str]:
    """The lines of indented blocks that are commands of ours, without comments, once each."""
    lines = re.findall(r"^(?: {4}|\t)(\S.*)$", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)
    commands = (PREFIX.sub("", part.strip()) for line in lines for part in line.split(" #")[0].split("&&"))
    kept = (one for one in commands if re.match(r"tempohand |script/\w+\.py|make ", one))
    return list(dict.fromkeys(one for one in kept if not LEFT_OUT.search(one)))


COMMANDS = [(name, line) for name in DOCUMENTS if name not in HISTORY for line in shown(name)]


@cache
def targets() -> set[str]:
    """What the Makefile makes."""
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_readme_shows_commands():
    assert len([line for name, line in COMMANDS if name == "README.md"]) > 15


def test_both_readmes_show_the_same():
    """The same lines of code but for what stands behind #, the same sections and pictures."""

    def outline(name: str) -> tuple[list[str], ...]:
        text = (ROOT / name).read_text(encoding="utf-8")
        code = re.findall(r"^ {4}(\S.*?)\s*(?:#.*)?$", text, re.MULTILINE)
        return code, re.findall(r"^#+", text, re.MULTILINE), re.findall(r"\]\((docs/[^)]+)\)", text)

    assert outline("README.md") == outline("README.zh-CN.md")


@pytest.mark.parametrize("document, line", COMMANDS, ids=[f"{name} {line}" for name, line in COMMANDS])
def test_a_command_can_be_typed(document, line):
    words = shlex.split(re.sub(r"^script/(\w+)\.py", r"tempohand \1", line))
    program, name, rest = words[0], words[1], words[2:]
    if program == "make":
        assert name in targets()
        return
    if name == "bench":
        assert (ROOT / "script" / "benchmarks" / f"{rest[0]}.py").exists()
    elif not cli.COMMANDS[name].script:
        cli.make_parser(name).parse_args([name, *rest])
    elif "--help" not in rest:
        named = [word.partition("=")[2] for word in rest if word.startswith("--config-name=")]
        overrides = [word for word in rest if not word.startswith("-")]
        store_tables(ConfigStore.instance().store, CONFIG)
        with initialize_config_dir(str(CONFIG), version_base="1.3"):
            compose(
                named[0] if named else BY_DEFAULT.get(name, name),
                overrides=plain_values(name_data(overrides, CONFIG)),
            )
