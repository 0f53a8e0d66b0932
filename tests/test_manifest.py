import pytest

from tempohand.manifest import MANIFEST_NAME, verify, write_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(256)))
    (tmp_path / "b.json").write_text("{}")
    write_manifest(tmp_path)
    return tmp_path


def test_what_was_written_is_whole_and_a_folder_without_manifest_passes(folder):
    verify(folder)
    (folder / MANIFEST_NAME).unlink()
    (folder / "a.bin").write_bytes(b"")
    verify(folder)


@pytest.mark.parametrize("place", [0, 100, 255])
def test_every_bit_counts(folder, place):
    content = bytearray((folder / "a.bin").read_bytes())
    content[place] ^= 4
    (folder / "a.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.bin' is damaged, its content is not what was written"):
        verify(folder)
    verify(folder, ["b.json"])


def test_a_short_a_missing_and_an_unreadable_file_are_named(folder):
    (folder / "a.bin").write_bytes(bytes(100))
    with pytest.raises(ValueError, match="it has 100 bytes of 256"):
        verify(folder)
    (folder / "a.bin").unlink()
    with pytest.raises(ValueError, match="a.bin' is missing, 256 bytes were written"):
        verify(folder)
    for content in ("{", '{"a.bin": 3}', "[]"):
        (folder / MANIFEST_NAME).write_text(content)
        with pytest.raises(ValueError, match="checksums.json' is damaged"):
            verify(folder)
