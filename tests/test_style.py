"""Lint and format, as `make lint`; and what must never be committed."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 400  # lines
LONGEST_FUNCTION = 60  # lines
TRAINING_LOOP = ("script/train.py", 140)  # its main reads top to bottom: the one longer function
MOST_PARAMETERS = 8  # of a function that is not compiled; without self
MOST_TUPLE_ASSIGNMENTS = 6  # of three or more unrelated values on one line


SOURCE = [*(ROOT / "src").rglob("*.py"), *(ROOT / "script").rglob("*.py")]


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")], ids=["lint", "format"])
def test_ruff_is_content(arguments):
    result = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "."], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-3000:]


def test_a_commit_is_held_to_what_lint_is():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^lint:.*\n((?:\t.+\n)+)", makefile, re.M)[1]
    lint = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert local["repo"] == "local"  # which downloads nothing
    assert [hook["entry"] for hook in local["hooks"]] == lint
    # Whole: a file is right or wrong with the others, and one that is not Python starts none.
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in local["hooks"])


def tracked() -> list[Path]:
    result = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in result.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_nothing_large_licensed_or_compiled_is_tracked():
    for path in tracked():
        assert path.stat().st_size < 20e6, path
        assert not re.search(r"(\.pyc$|__pycache__|MANO_(LEFT|RIGHT)\.pkl$)", str(path)), path


def test_no_absolute_path_of_a_machine():
    pattern = re.compile(r"(?<![\w.])/(work|home|root|mnt)/\w")
    for path in tracked():
        if path.suffix in (".py", ".yaml", ".md", ".toml", ".txt", "") and path.name != Path(__file__).name:
            for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1):
                assert not pattern.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"


def test_source_files_stay_short():
    for path in SOURCE:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE, path


def nodes(*kinds: type[ast.AST]):
    """(place, node) of every node of these kinds in the source."""
    for path in SOURCE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kinds):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_functions_stay_short_and_take_few_arguments():
    for place, function in nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        longest = TRAINING_LOOP[1] if place.startswith(TRAINING_LOOP[0]) else LONGEST_FUNCTION
        assert function.end_lineno - function.lineno < longest, f"{place} {function.name}"
        if any("njit" in ast.unparse(decorator) for decorator in function.decorator_list):
            continue  # compiled code takes plain arrays and numbers, one by one
        arguments = function.args
        names = [a.arg for a in arguments.posonlyargs + arguments.args + arguments.kwonlyargs]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        assert count <= MOST_PARAMETERS, f"{place} {function.name} takes {count} arguments"


def are_components(names: list[str]) -> bool:
    """Whether names differ in one character alone, as a vector's components do: x0, y0, z0 or w0, w1, w2."""
    return (
        len({len(name) for name in names}) == 1 and sum(len(set(column)) > 1 for column in zip(*names)) == 1
    )


def test_a_line_assigns_one_thing():
    found = [
        f"{place} {ast.unparse(node)[:80]}"
        for place, node in nodes(ast.Assign)
        if isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Tuple)
        if len(node.value.elts) > 2 and not are_components([ast.unparse(e) for e in node.targets[0].elts])
    ]
    assert len(found) <= MOST_TUPLE_ASSIGNMENTS, "\n".join(found)


def test_no_two_public_classes_share_a_name():
    found = defaultdict(list)
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(path.relative_to(ROOT).as_posix())
    assert {name: files for name, files in found.items() if len(files) > 1} == {}
