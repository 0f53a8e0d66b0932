"""Imports go down only: the floors of docs/architecture.md, read from the source."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
FLOORS = [
    {"compat", "skeleton", "console", "manifest", "writing"},
    {"geometry", "boxes"},
    {"render", "draw", "media"},
    {"batch"},
    {"hand"},
    {"model", "data", "training", "evaluation"},
    {"assemble"},
    {"inference", "synthetic", "doctor"},
    {"commands"},
    {"cli"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: str(path.relative_to(SRC)))
def test_a_file_imports_from_below(path):
    part = path.relative_to(SRC).parts[0].removesuffix(".py")
    names = imported(path)
    assert not {name for name in names if name.split(".")[0] in ("hydra", "omegaconf")}, (
        "nothing in src/ imports Hydra"
    )
    for name in names:
        pieces = name.split(".")
        if (
            pieces[0] == "tempohand"
            and len(pieces) > 1
            and part != "__init__"
            and pieces[1] in FLOOR
            and pieces[1] != part
        ):
            assert FLOOR[pieces[1]] < FLOOR[part], f"{part} imports {name}, which is not below it"


def test_every_part_has_a_floor():
    modules = {path.stem for path in SRC.glob("*.py")} - {"__init__"}
    packages = {path.name for path in SRC.iterdir() if (path / "__init__.py").is_file()}
    assert modules | packages == set(FLOOR)
