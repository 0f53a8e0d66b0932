"""data= on the command line: a name in config/data, or a table's folder."""

import sys
from pathlib import Path

import pytest
from tests_support import compose_config

from tempohand.data.arguments import data_by_name_or_folder, name_data

CHOICES = Path(__file__).parents[2] / "config/data"


@pytest.mark.parametrize("name", ["table", "freihand", "mix_images"])
def test_names_stay_and_other_arguments_too(name):
    arguments = ["--config-name=stage1-tiny", f"data={name}", "data.root=data/demo", "+data/tables@data.tables=rhd", "out=data=x"]
    assert name_data(arguments, CHOICES) == arguments


@pytest.mark.parametrize("config", ["stage1-tiny", "find-tiny", "evaluate"])
@pytest.mark.parametrize("folder", ["data/demo", "/tables/one", "./freihand", "a b/it's ü=1", "'data/demo'"])
def test_a_folder_is_the_one_table_of_it_in_every_script(config, folder):
    composed = compose_config(config, *name_data([f"data={folder}"], CHOICES))
    (table,) = composed["data"]["tables"].values()
    assert table["root"] == folder.strip("'") and (table["train"], table["validation"]) == ("train", "val")


def test_a_folder_of_one_word_is_found_and_a_name_wins_over_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("demo", "freihand", "common"):
        (tmp_path / folder).mkdir()
    assert name_data(["data=demo"], CHOICES) == ["data=table", "data.root='demo'"]
    assert name_data(["data=freihand"], CHOICES) == ["data=freihand"]
    assert name_data(["data=common"], CHOICES) == ["data=table", "data.root='common'"]  # what the choices share is none itself


def test_what_is_neither_is_said_with_the_names(monkeypatch, capsys):
    with pytest.raises(ValueError, match="data=freihnd: it is neither the folder of a frame table nor one of arctic, .*freihand.*, table$"):
        name_data(["data=freihnd"], CHOICES)
    monkeypatch.setattr(sys, "argv", ["train.py", "data=freihnd"])
    with pytest.raises(SystemExit) as leave:
        data_by_name_or_folder(CHOICES)(lambda: None)()
    assert leave.value.code == 2 and capsys.readouterr().err.startswith("error: data=freihnd: it is neither")


def test_a_script_reads_the_changed_line_and_a_given_configuration_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "data=data/demo", "seed=1"])
    main = data_by_name_or_folder(CHOICES)(lambda *config: (list(sys.argv), *config))
    assert main("a configuration") == (["train.py", "data=data/demo", "seed=1"], "a configuration")
    assert main() == (["train.py", "data=table", "data.root='data/demo'", "seed=1"],)
