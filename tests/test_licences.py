"""Openness is a promise of the README: nothing that installing the package brings forbids use, selling or
passing on.

What is read is what installed packages say of themselves. Libraries inside wheels say nothing there:
THIRD_PARTY_NOTICES.md has them.
"""

import ast
import re
import tomllib
from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]

# SPDX identifiers, and why each will do.
ALLOWED = {
    **dict.fromkeys(
        ("MIT", "MIT-CMU", "ISC", "Zlib", "0BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "HPND"),
        "keep the notice, no more",
    ),
    "Apache-2.0": "keep the notice; a patent grant",
    "Apache-2.0 WITH LLVM-exception": "Apache-2.0, and no notice in what a compiler makes",
    "PSF-2.0": "keep the notice (Python's and matplotlib's)",
    "CC0-1.0": "no conditions",
    "MPL-2.0": "changed files of its own stay open; what uses them is free (tqdm, certifi)",
    "LGPL-2.1-or-later": "a library in files of its own, which may be replaced: what uses it is free",
    "LGPL-3.0-or-later": "as LGPL-2.1-or-later",
    "LicenseRef-NVIDIA-Proprietary": (
        "CUDA's libraries, which a CUDA build of torch brings: not open, free to use, also commercially"
    ),
}
# What the older metadata fields say, in the words of the packages that say it.
IN_WORDS = {
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
}
SILENT = ("", "UNKNOWN")
WHOLE_TEXT = 60  # characters: longer is a licence's text, which the classifier beside it names


def project() -> dict:
    """What pyproject.toml says of the package: the working tree's requirements, not those of an older
    installation."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def reachable(requirements: list[str]) -> dict[str, Message]:
    """The metadata of all installed packages that requirements bring, by name. Raises PackageNotFoundError
    where one is not installed."""
    found, waiting, done = {}, [Requirement(text) for text in requirements], set()
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        extras = frozenset(wanted.extras) | {""}
        if (name, extras) in done:
            continue
        done.add((name, extras))
        installed = distribution(name)
        found[name] = installed.metadata
        needed = [Requirement(text) for text in installed.requires or []]
        waiting += [
            one
            for one in needed
            if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return found


def refused(metadata: Message) -> str | None:
    """Why a package's licence will not do; None for one that does. All that it says must be allowed: the
    expression, or classifiers and field."""
    expression, field = metadata.get("License-Expression"), (metadata.get("License") or "").strip()
    classifiers = [
        line.split(" :: ")[-1]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    stated = [expression] if expression else [one for one in classifiers if one != "OSI Approved"]
    if not expression and field not in SILENT and (len(field) <= WHOLE_TEXT or not stated):
        stated.append(field)
    wrong = [one for one in stated if not _allowed(one)]
    if not stated:
        return "it names no licence"
    return f"its licence is {wrong}" if wrong else None


def _allowed(expression: str) -> bool:
    """Of an SPDX expression: every part of an AND, one part of an OR (which binds less); or the words of
    older metadata."""
    plain = IN_WORDS.get(expression, expression).replace("(", "").replace(")", "")
    return any(
        all(part.strip() in ALLOWED for part in choice.split(" AND ")) for choice in plain.split(" OR ")
    )


def metadata(**values) -> Message:
    made = Message()
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            made[name.replace("_", "-")] = one
    return made


def test_nothing_that_installing_the_package_brings_is_refused():
    packages = reachable(project()["dependencies"])
    assert {"torch", "numpy", "av", "huggingface-hub", "llvmlite", "pyarrow"} <= packages.keys(), (
        "it looks through packages, to what they need"
    )
    reasons = {name: refused(about) for name, about in packages.items()}
    assert {name: reason for name, reason in reasons.items() if reason} == {}


@pytest.mark.parametrize(
    "about",
    [
        {"License_Expression": "GPL-3.0-or-later"},
        {"License_Expression": "MIT AND GPL-2.0-only"},
        {"License_Expression": "AGPL-3.0-only OR LicenseRef-Commercial"},
        {"License_Expression": "CC-BY-NC-4.0"},
        {"License": "UNKNOWN"},  # smplx's own
        {},
        {"License": "Free for non-commercial scientific research"},
        {
            "License": "Free for non-commercial scientific research",
            "Classifier": ["License :: OSI Approved :: MIT License"],
        },
        {"Classifier": ["License :: Other/Proprietary License"]},
        {"Classifier": ["License :: OSI Approved :: MIT License", "License :: Free for non-commercial use"]},
        {"License": "A licence text. " * 50},
    ],
)
def test_a_licence_that_forbids_is_refused(about):
    assert refused(metadata(**about))


@pytest.mark.parametrize(
    "about",
    [
        {"License_Expression": "MIT"},
        {"License_Expression": "GPL-3.0-only OR (MIT AND BSD-2-Clause)"},
        {"License_Expression": "BSD-2-Clause AND Apache-2.0 WITH LLVM-exception"},
        {"License": "MPL-2.0 AND MIT"},
        {
            "License": "Copyright (c) 1999 somebody. " * 9,
            "Classifier": ["License :: OSI Approved :: BSD License"],
        },
    ],
)
def test_one_that_allows_is_not(about):
    assert refused(metadata(**about)) is None


def test_what_is_needed_is_followed_through_packages(monkeypatch):
    """A requirement of a requirement's extra is found; one whose marker does not hold here is not."""

    class Installed:
        def __init__(self, requires, licence):
            self.requires, self.metadata = requires, metadata(License_Expression=licence)

    made = {
        "a": Installed(
            ["b[fast]>=1", "windows; sys_platform == 'nowhere'", "extra-of-a; extra == 'more'"], "MIT"
        ),
        "b": Installed(["C.c; extra == 'fast'"], "MIT"),
        "c-c": Installed(["a"], "GPL-3.0-only"),
    }
    monkeypatch.setitem(globals(), "distribution", lambda name: made[name])
    found = reachable(["a"])
    assert set(found) == {"a", "b", "c-c"} and [name for name in found if refused(found[name])] == ["c-c"]


def test_a_package_that_is_not_installed_is_not_passed_over():
    with pytest.raises(PackageNotFoundError):
        reachable(["tempohand-needs-no-such-package"])


def test_smplx_is_for_tests_alone():
    """Its licence forbids commercial use: neither required nor imported by the package."""
    arguments = project()
    names = {
        extra: {Requirement(text).name for text in texts}
        for extra, texts in arguments["optional-dependencies"].items()
    }
    assert (
        "smplx" not in {Requirement(text).name for text in arguments["dependencies"]}
        and "smplx" in names["test"]
    )
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [getattr(node, "module", None) or ""]
            )
            assert not any(module.split(".")[0] == "smplx" for module in modules), path
