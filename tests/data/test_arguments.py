"""data= on the command line: a name in config/data or config/tables.yaml, or a table's folder."""

import re
import sys
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from tests_support import CONFIG, compose_config

from tempohand.data.arguments import (
    by_plain_values,
    data_by_name_or_folder,
    name_data,
    plain_values,
    table_folder,
)

SCRIPTS = CONFIG.parent / "script"


@pytest.mark.parametrize("name", ["table", "freihand", "mix_images"])
def test_names_stay_and_other_arguments_too(name):
    arguments = [
        "--config-name=stage1-tiny",
        f"data={name}",
        "data.root=data/demo",
        "+data/tables@data.tables=rhd",
        "out=data=x",
    ]
    assert name_data(arguments, CONFIG) == arguments


@pytest.mark.parametrize("config", ["stage1-tiny", "find-tiny", "evaluate"])
@pytest.mark.parametrize("folder", ["data/demo", "/tables/one", "./freihand", "a b/it's ü=1", "'data/demo'"])
def test_a_folder_is_the_one_table_of_it_in_every_script(config, folder):
    composed = compose_config(config, *name_data([f"data={folder}"], CONFIG))
    (table,) = composed["data"]["tables"].values()
    assert table["root"] == folder.strip("'") and (table["train"], table["validation"]) == ("train", "val")


def test_a_folder_of_one_word_is_found_and_a_name_wins_over_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("demo", "freihand", "common"):
        (tmp_path / folder).mkdir()
    assert name_data(["data=demo"], CONFIG) == ["data=table", "data.root='demo'"]
    assert name_data(["data=freihand"], CONFIG) == ["data=freihand"]
    assert name_data(["data=common"], CONFIG) == [
        "data=table",
        "data.root='common'",
    ]  # what the choices share is none itself


def test_what_is_neither_is_said_with_the_names(monkeypatch, capsys):
    with pytest.raises(
        ValueError,
        match=(
            "data=freihnd: it is neither the folder of a frame table nor one of arctic, .*freihand.*, table"
        ),
    ):
        name_data(["data=freihnd"], CONFIG)
    monkeypatch.setattr(sys, "argv", ["train.py", "data=freihnd"])
    with pytest.raises(SystemExit) as leave:
        data_by_name_or_folder(CONFIG, ConfigStore.instance().store)(lambda: None)()
    assert leave.value.code == 2 and capsys.readouterr().err.startswith("error: data=freihnd: it is neither")


def test_a_script_reads_the_changed_line_and_a_given_configuration_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "data=data/demo", "seed=1"])
    main = data_by_name_or_folder(CONFIG, ConfigStore.instance().store)(
        lambda *config: (list(sys.argv), *config)
    )
    assert main("a configuration") == (["train.py", "data=data/demo", "seed=1"], "a configuration")
    assert main() == (["train.py", "data=table", "data.root='data/demo'", "seed=1"],)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_data_set_has_the_same_folder_for_commands_that_read_one_table(elsewhere, monkeypatch):
    monkeypatch.delenv("TEMPOHAND_FREIHAND", raising=False)
    if elsewhere:
        monkeypatch.setenv("TEMPOHAND_FREIHAND", "/tables/mine")
    composed = compose_config("evaluate", *name_data(["data=freihand"], CONFIG))
    assert str(table_folder("freihand", CONFIG)) == composed["data"]["tables"]["freihand"]["root"]
    assert table_folder("data/freihand", CONFIG) == Path("data/freihand")
    assert table_folder("./freihand/", CONFIG) == Path("freihand")


PATHS = (
    "/data/a=b/ü",
    "ü",
    "a b",
    "it's",
    "runs/(old)",
    "a,b",
    "x[1]",
    "{x}y",
    "50%&more",
    "手/~home",
    "back\\slash=",
    "ends\\'",
    "a;b#c!",
    "'odd",
    "=",
    "a: b=c",
)


@pytest.mark.parametrize("path", [path for path in PATHS if path[0] not in "{'"])
@pytest.mark.parametrize("key", ["out", "+extra", "++out"])
def test_a_value_is_what_it_says_whatever_is_in_it(path, key):
    composed = compose_config("stage1-tiny", "data.root=data/demo", *plain_values([f"{key}={path}"]))
    assert composed[key.strip("+")] == path


@pytest.mark.parametrize(
    "argument",
    [
        "out=data/demo",
        "seed=3",
        "optim.ema=null",
        "sampling={consecutive: 2, drop: 0.1}",
        "camera.window_factor=[1.0,3.0]",
        "out='a=b'",
        'out="ü"',
        r"out=a\=b",
        "out=${oc.env:HOME}/ü",
        "seed=int(3)",
        "~tracker",
        "+data/tables@data.tables=rhd",
        "--config-name=ü",
        "--config-dir=/a=b",
    ],
)
def test_what_hydra_is_to_read_stays(argument):
    assert plain_values([argument]) == [argument]


def test_every_script_with_a_configuration_reads_values_like_this():
    """train.py, evaluate.py, doctor.py by data_by_name_or_folder; prepare.py, which has no data=, by its
    other half."""
    scripts = [path for path in SCRIPTS.glob("*.py") if "@hydra.main" in path.read_text()]
    assert len(scripts) == 4
    for path in scripts:
        assert re.search(
            r"@(data_by_name_or_folder\(.*\)|by_plain_values)\n\s*@hydra.main", path.read_text()
        ), path


def test_the_command_line_is_changed_before_hydra_reads_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prepare.py", "out=a=b", "seed=1"])
    assert by_plain_values(lambda: list(sys.argv))() == ["prepare.py", "out='a=b'", "seed=1"]
    monkeypatch.setattr(sys, "argv", ["train.py", "data=data/demo", "out=a=b"])
    assert data_by_name_or_folder(CONFIG, ConfigStore.instance().store)(lambda: list(sys.argv))() == [
        "train.py",
        "data=table",
        "data.root='data/demo'",
        "out='a=b'",
    ]
