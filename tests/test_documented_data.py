"""The documents name every data set that can be converted, and none that cannot."""

import re
from pathlib import Path

import pytest

from tempohand.data.convert.registry import CONVERTERS

ROOT = Path(__file__).parents[1]
# Which lines list the data sets, their names in backquotes.
LISTS = {
    "README.md": r"^.*read in their original folders.*$",
    "docs/data.md": r"^\|[^|]*\|((?: `\w+`,?)+) \|",  # second column of the table
    "docs/datasets.md": r"^## .*\(`.*$",  # headings
}


def text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


@pytest.mark.parametrize("document", LISTS)
def test_every_data_set_is_listed_and_no_other(document):
    lines = [found[found.lastindex or 0] for found in re.finditer(LISTS[document], text(document), re.M)]
    assert sorted(name for line in lines for name in re.findall(r"`(\w+)`", line)) == sorted(CONVERTERS)


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))])
def test_commands_name_data_sets_that_there_are(document):
    assert set(re.findall(r"\bdataset=([a-z]\w*)", text(document))) <= {*CONVERTERS, "synthetic"}


def test_every_data_set_has_its_command():
    assert set(re.findall(r"tempohand prepare dataset=(\w+) ", text("docs/datasets.md"))) >= {*CONVERTERS} - {
        "ho3d_v2"
    }
