import io
import tarfile

import numpy as np
import pytest

from tempohand.synthetic.archive import Archive


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for name, size in (("b.png", 3000), ("a.png", 700), ("notes.txt", 5)):
        (folder / name).write_bytes(np.random.default_rng(size).bytes(size))
    with tarfile.open(tmp_path / "files.tar", "w") as tar:
        for path in folder.iterdir():
            tar.add(path, f"inside/{path.name}")
    return tmp_path


def test_a_folder_and_its_tar_are_the_same(files):
    folder, tar = (Archive(files / name, "skins") for name in ("files", "files.tar"))
    assert folder.names("", ".png") == tar.names("", ".png") == ["a.png", "b.png"]
    assert folder.read("b.png") == tar.read("b.png") == (files / "files" / "b.png").read_bytes()
    assert folder.fingerprint() == tar.fingerprint()
    (files / "files" / "a.png").write_bytes(b"shorter")
    assert Archive(files / "files", "skins").fingerprint() != tar.fingerprint()


def test_mistakes_are_one_line(files):
    with pytest.raises(FileNotFoundError, match="skins=.*there is no such file or folder"):
        Archive(files / "absent.tar", "skins")
    whole = (files / "files.tar").read_bytes()
    (files / "cut.tar").write_bytes(whole[:2000])
    (files / "text.tar").write_text("no archive " * 100)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(files / "files", "files")
    (files / "packed.tar").write_bytes(packed.getvalue())
    for name in ("cut.tar", "text.tar", "packed.tar"):
        with pytest.raises(ValueError, match=f"skins=.*{name} is no whole tar archive .*uncompressed"):
            Archive(files / name, "skins")
    archive = Archive(files / "files.tar", "skins")
    with pytest.raises(ValueError, match=r"holds no file named hands_\*\.png"):
        archive.names("hands_", ".png")
    with pytest.raises(ValueError, match="lacks the file c.png"):
        archive.read("c.png")
    with pytest.raises(ValueError, match="a.png does not decode"):
        archive.picture("a.png")
