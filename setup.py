"""Packages and their files; everything else is in pyproject.toml.

`import tempohand` is the folder src/. The scripts and their configurations are installed as
tempohand/script and tempohand/config, beside each other as in the repository. tests/test_wheel.py checks that
nothing is left out.
"""

from setuptools import find_packages, setup

SCRIPTS = [
    "tempohand.script",
    "tempohand.script.benchmarks",
    "tempohand.script.open_hand",
    "tempohand.config",
]

setup(
    package_dir={"tempohand": "src", "tempohand.script": "script", "tempohand.config": "config"},
    packages=["tempohand", *(f"tempohand.{name}" for name in find_packages("src")), *SCRIPTS],
    package_data={
        "tempohand.hand": ["*.npz"],
        "tempohand.model": ["released/*/*"],
        "tempohand.config": ["**/*.yaml"],
        "tempohand.script": ["format_pictures/*"],
        "tempohand.script.benchmarks": ["*.mjs"],
        "tempohand.evaluation.report": ["templates/*"],
        "tempohand.doctor": ["templates/*"],
        "tempohand.inference": ["web/*"],
    },
)
