import cv2
import numpy as np
import pytest

from tempohand.data.parallel_jobs import LocalPool
from tempohand.data.table import FrameTable
from tempohand.synthetic import sheet
from tempohand.synthetic.generate import make_table


def test_a_sheet_shows_the_first_frame_of_every_sequence(settings, tmp_path, monkeypatch):
    make_table(settings(), tmp_path / "table", engine=LocalPool(1))
    picture = sheet.contact_sheet(tmp_path / "table", "train", 2, 2, 48)
    table = FrameTable(tmp_path / "table", "train")
    np.testing.assert_array_equal(picture[48:, :48], table.image(2 * 3))
    with pytest.raises(ValueError, match="has 2 sequences in its split test, fewer than the 3 x 1"):
        sheet.contact_sheet(tmp_path / "table", "test", 3, 1, 48)
    arguments = [
        "sheet",
        str(tmp_path / "table"),
        str(tmp_path / "sheet.jpg"),
        "--rows",
        "1",
        "--columns",
        "2",
        "--edge",
        "32",
    ]
    monkeypatch.setattr("sys.argv", arguments)
    sheet.main()
    assert cv2.imread(str(tmp_path / "sheet.jpg")).shape == (32, 64, 3) and not list(tmp_path.glob("*.part*"))
