"""Memory stays flat over a long input."""

import tracemalloc
import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np

from tempohand.inference import command, export
from tempohand.inference.predictor import HandEstimate, StreamingPredictor
from tempohand.inference.source import Frame, VideoSource

FRAMES = 200


def estimate(frame: int) -> HandEstimate:
    shapes = {"box": 4, "focal": 2, "princpt": 2, "pose": 48, "shape": 10, "trans": 3, "joints": (21, 3), "vertices": (778, 3)}
    values = {name: np.full(shape, frame, np.float32) for name, shape in (shapes | {"joints2d": (21, 2)}).items()}
    return HandEstimate(frame=frame, time=frame / 30, hand=0, is_right=True, history=1, image_size=(640, 480), **values)


def test_rows_are_kept_on_the_disk(tmp_path):
    def most(count: int) -> int:
        """Bytes at a time, from the first row to both files."""
        tracemalloc.start()
        try:
            with export.Rows(tmp_path) as rows:
                for frame in range(count):
                    rows.append([estimate(frame)])
                about = export.describe("made.mkv", [], count, 30)
                export.write_npz(tmp_path / "p.npz", rows.columns(), np.zeros((1538, 3), int), about)
                export.write_json(tmp_path / "p.json", rows.columns(), about)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most(10)  # what is made once
    short, long = most(FRAMES), most(2 * FRAMES)
    assert (long - short) / FRAMES < 100, "bytes per row; its vertices alone have 9336"
    with np.load(tmp_path / "p.npz") as file:
        assert (file["vertices"][:, 5, 1] == np.arange(2 * FRAMES)).all()


class Made(VideoSource):
    """A video of small pictures that nobody keeps; `notice` is called before each."""

    def __init__(self, notice):
        self.fps, self.names, self.size, self.path, self.expected_count = Fraction(30), [], (48, 40), Path("made.mkv"), FRAMES
        self.notice = notice

    def count(self) -> int:
        return FRAMES

    def __iter__(self):
        for index in range(FRAMES):
            self.notice()
            yield Frame(index, index / 30, np.full((40, 48, 3), index % 251, np.uint8), f"frame {index}")


def test_a_run_holds_no_more_predictions_than_a_network_pass_makes(monkeypatch, predict):
    made, alive = [], []

    class Watched(StreamingPredictor):
        def push_all(self, hands):
            estimates = super().push_all(hands)
            made.extend(weakref.ref(one) for one in estimates)
            return estimates

    monkeypatch.setattr(command, "StreamingPredictor", Watched)
    monkeypatch.setattr(command, "open_source", lambda *_: Made(lambda: alive.append(sum(one() is not None for one in made))))
    with np.load(predict("made.mkv", "--box", "5,5,30,30", "--no-overlay", "--batch-size", 16) / "predictions.npz") as file:
        assert file["frame"].tolist() == list(range(FRAMES)) == list(range(len(made)))
    assert max(alive) <= 2 * 16
