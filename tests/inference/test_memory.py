"""Memory stays flat over a long input."""

import time
import tracemalloc
import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np

from tempohand.inference import export, predict_files
from tempohand.inference.camera import CameraChoice
from tempohand.inference.finder import HandFinder
from tempohand.inference.predict import AHEAD, predict_frames
from tempohand.inference.predictor import MOST_HANDS, HandEstimate, HandInput, StreamingPredictor
from tempohand.inference.source import SourceFrame, VideoSource
from tempohand.inference.tracker import Detection, Tracker
from tempohand.inference.verification import CloserLook

FRAMES = 100


def estimate(frame: int) -> HandEstimate:
    shapes = {
        "box": 4,
        "focal": 2,
        "princpt": 2,
        "pose": 48,
        "shape": 10,
        "trans": 3,
        "joints": (21, 3),
        "vertices": (778, 3),
    }
    values = {
        name: np.full(shape, frame, np.float32) for name, shape in (shapes | {"joints2d": (21, 2)}).items()
    }
    return HandEstimate(
        frame=frame, time=frame / 30, hand=0, is_right=True, history=1, image_size=(640, 480), **values
    )


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
    short, long = most(2 * FRAMES), most(4 * FRAMES)
    assert (long - short) / (2 * FRAMES) < 1000, "bytes per row; its vertices alone have 9336"
    with np.load(tmp_path / "p.npz") as file:
        assert (file["vertices"][:, 5, 1] == np.arange(4 * FRAMES)).all()


def test_files_are_written_without_mapping_the_rows(tmp_path):
    """What is mapped counts as resident: it would be all that an hour of video leaves."""
    with export.Rows(tmp_path) as rows:
        for frame in range(FRAMES):
            rows.append([estimate(frame)])
        columns, about = rows.columns(), export.describe("made.mkv", [], FRAMES, 30)
        export.write_npz(tmp_path / "p.npz", columns, np.zeros((1538, 3), int), about)
        export.write_json(tmp_path / "p.json", columns, about)
        resident, ours = {}, ""
        for line in Path("/proc/self/smaps").read_text().splitlines():
            first, *others = line.split()
            if "-" in first:
                ours = others[-1] if others[-1].startswith(str(tmp_path)) else ""
            elif ours and first == "Rss:":
                resident[Path(ours).name] = 1024 * int(others[0])
    assert "vertices" in resident, "its columns are open"
    assert sum(resident.values()) < 100_000 < columns["vertices"].nbytes


class Made(VideoSource):
    """A video of small pictures that nobody keeps; `notice` is called before each."""

    def __init__(self, notice):
        self.fps, self.names, self.size, self.path, self.expected_count = (
            Fraction(30),
            [],
            (48, 40),
            Path("made.mkv"),
            FRAMES,
        )
        self.notice, self.incomplete = notice, None
        self.pictures_made: list[weakref.ref] = []

    def count(self) -> int:
        return FRAMES

    def __iter__(self):
        for index in range(FRAMES):
            self.notice()
            picture = np.full((40, 48, 3), index % 251, np.uint8)
            self.pictures_made.append(weakref.ref(picture))
            yield SourceFrame(index, index / 30, picture, f"frame {index}")


def test_a_run_holds_no_more_predictions_than_a_network_pass_makes(monkeypatch, predict):
    made, alive = [], []

    class Watched(StreamingPredictor):
        def push_all(self, hands):
            estimates = super().push_all(hands)
            made.extend(weakref.ref(one) for one in estimates)
            return estimates

    monkeypatch.setattr(predict_files, "StreamingPredictor", Watched)
    monkeypatch.setattr(
        predict_files,
        "open_source",
        lambda *_: Made(lambda: alive.append(sum(one() is not None for one in made))),
    )
    with np.load(
        predict("made.mkv", "--box", "5,5,30,30", "--no-overlay", "--batch-size", 16) / "predictions.npz"
    ) as file:
        assert file["frame"].tolist() == list(range(FRAMES)) == list(range(len(made)))
    assert max(alive) <= 2 * 16


def test_a_run_holds_no_more_frames_than_its_steps_may_be_ahead(monkeypatch, predict):
    """Whichever step is the slowest."""
    batch_size, alive = 4, []
    made = Made(lambda: alive.append(sum(one() is not None for one in made.pictures_made)))
    monkeypatch.setattr(predict_files, "open_source", lambda *_: made)
    draw = predict_files.draw_hands

    def slowly(*given, **named):
        time.sleep(0.002)
        return draw(*given, **named)

    monkeypatch.setattr(predict_files, "draw_hands", slowly)
    predict("made.mkv", "--box", "5,5,30,30", "--batch-size", batch_size)
    steps = 4
    assert len(alive) == FRAMES and max(alive) <= 3 * AHEAD + 2 * batch_size + steps


def test_nothing_is_kept_of_hands_that_are_gone(monkeypatch, fake_network):
    """Boxes that jump: a new hand in every frame, for which the network has a side, and every third is
    none."""

    class Jumps(HandFinder):
        def __init__(self):
            pass

        def detect(self, frame):
            x = 3.0 * (frame.index % 16)
            return [Detection(np.array([x, 4, x + 2, 6]))]

    class Sides(fake_network):
        tells_sides = True

        def look(self, frames):
            looks.append(1)
            return frames.focal.new_tensor([[3.0], [float(len(looks) % 6 > 1)]])

    looks, closers, of = [], [], CloserLook.of
    monkeypatch.setattr(CloserLook, "of", lambda predictor: closers.append(of(predictor)) or closers[-1])
    tracker, predictor = Tracker(), StreamingPredictor(Sides(num_frame=1), batch_size=4)
    numbers = set()
    for _, found in predict_frames(Made(lambda: None), Jumps(), tracker, CameraChoice(), predictor):
        numbers |= {one.hand for one in found}
        kept = [len(tracker.hands), len(predictor._histories), len(closers[0]._hands)]
        assert max(kept) <= 24, kept  # as many as were seen in the last 0.4 s, and a batch
    assert len(numbers) > 40


def test_a_live_predictor_keeps_the_hands_that_were_pushed_last(fake_network):
    predictor, image = StreamingPredictor(fake_network(num_frame=1)), np.zeros((40, 48, 3), np.uint8)

    def push(*hands: int, time: float = 0.0) -> list[int]:
        inputs = [HandInput(image=image, box=(5, 5, 30, 30), time=time, hand=hand) for hand in hands]
        return [one.hand for one in predictor.push_all(inputs)]

    push(*range(MOST_HANDS))
    push(0, MOST_HANDS, time=0.1)
    assert (
        len(predictor._histories) == MOST_HANDS
        and 0 in predictor._histories
        and 1 not in predictor._histories
    )
    predictor.keep({0, 5})
    assert predictor._histories.keys() == {0, 5}
