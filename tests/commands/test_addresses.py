"""Every command that takes a frame table, given an address: it works, or says in one line what to do."""

import json

import fsspec
import pytest

from tempohand import cli
from tempohand.data.mixture import Mixture
from tempohand.data.parquet import to_parquet
from tempohand.data.table import fingerprint

HERE = "this needs a folder or file of this machine (tempohand table copy copies a table)"


@pytest.fixture
def address(table_root):
    system = fsspec.filesystem("memory")
    for file in table_root.iterdir():
        if file.is_file():
            system.pipe_file(f"/table/{file.name}", file.read_bytes())
    yield "memory://table"
    system.rm("/", recursive=True)


def refused(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(word) for word in words])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_commands_that_read_a_table_read_it_at_an_address(address, table_root, tmp_path):
    cli.main(["inspect", address, "--split", "val", "--rows", "2", "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert address in page and page.count("data:image/jpeg") > 2 and "cannot be" not in page
    for name in ("near", "far"):
        table = address if name == "far" else str(table_root)
        cli.main(["export-json", table, "--out", str(tmp_path / name)])
        cli.main(["table", "copy", table, str(tmp_path / f"{name}-copy")])
    near, far = (json.loads((tmp_path / name / "annotations.json").read_text()) for name in ("near", "far"))
    assert near == far and near["splits"]["train"]
    copies = {fingerprint(tmp_path / f"{name}-copy") for name in ("near", "far")}
    assert copies == {fingerprint(table_root)}


def test_commands_that_need_a_folder_say_so(address, table_root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    parquet = tmp_path / "parquet"
    to_parquet(table_root, parquet)
    for words in (
        ["check-data", address],
        ["masks", address],
        ["masks", table_root, "--out", address],
        ["export-json", table_root, "--out", address],
        ["inspect", table_root, "--out", address],
        ["table", "copy", table_root, address],
        ["table", "to-parquet", table_root, address],
        ["table", "from-parquet", parquet, address],
        ["table", "from-parquet", address, tmp_path / "back"],
    ):
        assert f"'{address}' is an address, and {HERE}" in refused(capsys, *words), words
    assert "where no page is written: say where as --out" in refused(capsys, "inspect", address)
    assert list(tmp_path.iterdir()) == [parquet], "no folder is named as an address"


def test_a_training_run_of_stage_2_asks_for_a_place_of_its_tokens(address, table_root):
    def mixture(root):
        return Mixture({"table": {"root": str(root), "train": "train", "validation": "val"}}, None)

    assert mixture(table_root).token_folder(None, "abc") == table_root / "tokens" / "abc"
    far = mixture(address)
    with pytest.raises(ValueError, match="no tokens are kept: give tokens.folder=<a folder of this machine>"):
        far.token_folder(None, "abc")
    assert str(far.token_folder("here", "abc")) == "here"
