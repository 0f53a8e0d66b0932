"""Several inputs at once: each has the results that it would have alone, and costs nobody else anything."""

from dataclasses import replace

import numpy as np
import pytest
from video_support import moving_pictures, write_video

from tempohand import cli
from tempohand.console import EXIT_INCOMPLETE
from tempohand.data.parallel_jobs import open_engine
from tempohand.inference.predict_files import predict_files
from tempohand.inference.predict_many import left_of, many, predict_many
from tempohand.inference.settings import PredictSettings

SETTINGS = PredictSettings("", checkpoint="tempohand-tiny", box="31,20,63,45", side="right")


@pytest.fixture
def clips(tmp_path):
    return [
        write_video(tmp_path / f"{name}.mkv", moving_pictures(count)) for name, count in zip("ab", (3, 2))
    ]


def test_each_input_has_the_results_that_it_has_alone(clips, tmp_path, capsys):
    broken = tmp_path / "broken.mkv"
    broken.write_bytes(b"no video")
    options = ["--checkpoint", SETTINGS.checkpoint, "--box", SETTINGS.box, "--side", "right", "--no-overlay"]
    words = [
        "predict",
        *map(str, [*clips, broken]),
        *options,
        "--out",
        str(tmp_path / "out"),
        "--workers",
        "2",
    ]
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    printed = capsys.readouterr()
    assert left.value.code == EXIT_INCOMPLETE and "2 of 3 inputs done" in printed.out
    assert f"{broken}: error: " in printed.out and f"{clips[0]}: 3 frames, 3 with a hand" in printed.out

    for clip in clips:
        alone = predict_files(replace(SETTINGS, input=clip, out=tmp_path / "alone", overlay=False)).out
        together = tmp_path / "out" / f"{clip.stem}-hands"
        one, other = (np.load(folder / "predictions.npz") for folder in (alone, together))
        assert one.files == other.files and len(one["frame"]) == len(other["frame"])
        for name in ("joints", "vertices", "trans"):
            np.testing.assert_allclose(one[name], other[name], atol=1e-2)  # sums of other numbers of threads

    before = [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").rglob("*.npz"))]
    with pytest.raises(SystemExit):
        cli.main([*words, "--resume"])
    assert "0 of 1 inputs done" in capsys.readouterr().out
    assert before == [path.stat().st_mtime_ns for path in sorted((tmp_path / "out").rglob("*.npz"))]


def test_what_two_inputs_cannot_share_is_refused(tmp_path):
    with pytest.raises(ValueError, match="would both go to"):
        many(["a/clip.mp4", "b/clip.mp4"], SETTINGS)
    for name in ("boxes", "depth"):
        with pytest.raises(ValueError, match=f"`{name}` says something of one input's frames"):
            many(["a.mp4", "b.mp4"], replace(SETTINGS, **{name: "file"}))
    (job,) = left_of(many(["c.mp4"], replace(SETTINGS, out=tmp_path)))
    assert (job.input, job.out) == ("c.mp4", tmp_path / "c-hands")


@pytest.mark.slow
def test_ray_writes_the_same_bytes(clips, tmp_path, ray_cluster):
    written = {}
    for name in ("local", "ray"):
        jobs = many(clips, replace(SETTINGS, out=tmp_path / name))
        made = dict(predict_many(jobs, open_engine(name, 2)))
        assert [made[job].frames for job in jobs] == [3, 2]
        written[name] = {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*"))
            if path.is_file()
        }
    assert written["local"] == written["ray"] and len(written["ray"]) == 2 * 3
