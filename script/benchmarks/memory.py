"""What `tempohand predict` holds in memory over a long video, which a short one in a loop makes: resident
memory of its processes by the share of the frames that are answered, and while the files are written; wall
and processor time; the files' sizes.

    tempohand bench memory --frames 108000 --size 640 360 clip.mp4 --no-overlay --runtime onnx

The command runs as a process of its own, and is looked at from outside. Resident memory counts pages of files
that are mapped, which the system takes back when it needs them; "of its own" is without them.
"""

import argparse
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil

from tempohand.inference.export import PREDICTIONS
from tempohand.inference.staging import stage_of
from tempohand.inference.unfinished import noted_frames

from .report import Report

SHARES = (0.01, 0.1, 0.25, 0.5, 0.75, 1.0)  # of the frames
MIB = 2**20


@dataclass(frozen=True)
class Look:
    """A look at the running command: s since it began, frames that it has noted as answered, MiB."""

    seconds: float
    frames: int
    resident: float
    own: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The video, and how it is predicted."""
    parser.add_argument("video", type=Path, help="a video with a hand")
    parser.add_argument(
        "words", nargs=argparse.REMAINDER, metavar="ARGUMENT", help="behind VIDEO: what predict is given, too"
    )
    parser.add_argument(
        "--frames", type=int, metavar="N", help="make it so long, in a loop (default: the video as it is)"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(640, 360),
        metavar=("W", "H"),
        help="with --frames, px (640 360)",
    )
    parser.add_argument("--out", type=Path, help="folder for the results (default: they are not kept)")
    parser.add_argument(
        "--every", type=float, default=5.0, metavar="S", help="seconds between looks (default %(default)s)"
    )


def run(arguments: argparse.Namespace) -> Report:
    """Predicts, looks on, and reads the results. Raises ValueError where the command fails."""
    with tempfile.TemporaryDirectory() as folder:
        out, video = arguments.out or Path(folder, "hands"), arguments.video
        if arguments.frames:
            video = looped(video, Path(folder), arguments.frames, arguments.size)
        command = [sys.executable, "-m", "tempohand.cli", "predict", str(video), "--out", str(out)]
        before, begun = _processor_seconds(), time.perf_counter()
        looks = _watched([*command, *arguments.words], out, arguments.every)
        seconds, processor = time.perf_counter() - begun, _processor_seconds() - before
        results = _results(out)
    frames = results["frames"]
    rows = [
        [f"{share:.0%} of {frames:,} frames", *_memory(_reached(looks, share * frames))] for share in SHARES
    ]
    writing = [each for each in looks if _writes(each, looks)]
    rows.append(["most while frames are answered", *_memory(*looks[: len(looks) - len(writing)])])
    rows.append(["most while files are written", *_memory(*writing)])
    rows.append(["wall, ms a frame", f"{1e3 * seconds / frames:.1f}", ""])
    rows.append(["processor, ms a frame", f"{1e3 * processor / frames:.1f}", ""])
    rows += [[name, f"{size / 1e6:,.1f} MB", ""] for name, size in results["bytes"].items()]
    rows.append(["rows", f"{results['rows']:,}", ""])
    details = {"seconds": seconds, "processor_seconds": processor, **results}
    details["looks"] = [asdict(look) for look in looks]
    return Report(["", "resident, MiB", "of its own, MiB"], rows, {}, details)


def looped(video: Path, folder: Path, frames: int, size: tuple[int, int]) -> Path:
    """A video in `folder` of so many frames, which are those of `video` over and over, made `size` (width,
    height) px large: encoded once (H.264), and repeated as it is."""
    once, path = folder / "once.mp4", folder / f"{video.stem}-{frames}.mp4"
    with av.open(str(video)) as source, av.open(str(once), "w") as container:
        rate = source.streams.video[0].average_rate
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "bf": "0"})
        stream.width, stream.height = size
        for number, frame in zip(range(frames), source.decode(video=0)):
            smaller = frame.reformat(*size, format="yuv420p")
            smaller.pts, smaller.time_base = number, Fraction(1) / rate
            container.mux(stream.encode(smaller))
        container.mux(stream.encode())
    written = 0
    with av.open(str(path), "w") as container:
        stream = None
        while written < frames:
            with av.open(str(once)) as source:
                stream = stream or container.add_stream_from_template(source.streams.video[0])
                shift = round(written / rate / source.streams.video[0].time_base)
                for packet in source.demux(video=0):
                    if packet.size and written < frames:
                        packet.stream = stream
                        packet.pts += shift
                        packet.dts += shift
                        container.mux(packet)
                        written += 1
    once.unlink()
    return path


def _watched(command: list[str], out: Path, every: float) -> list[Look]:
    """Looks at the command until it ends. Raises ValueError where it fails; interrupted, it is, too."""
    begun, stage = time.perf_counter(), stage_of(out)
    looks: list[Look] = []
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while True:
            try:
                code = process.wait(every)
                break
            except psutil.TimeoutExpired:
                noted = max(noted_frames(stage), looks[-1].frames if looks else 0)  # it is gone at the end
                looks += _look(process, time.perf_counter() - begun, noted)
    finally:
        if process.is_running():
            process.send_signal(signal.SIGINT)
            process.wait()
    if code:
        raise ValueError(f"tempohand predict failed (exit code {code}): its last line says why")
    if not looks:
        raise ValueError(
            f"tempohand predict took less than {every:g} s: look oftener, or give a longer video"
        )
    return looks


def _look(process: psutil.Process, seconds: float, frames: int) -> list[Look]:
    """One of the process and its children; none where it has just ended."""
    try:
        found = [each.memory_info() for each in (process, *process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []
    resident = sum(each.rss for each in found)
    return [Look(seconds, frames, resident / MIB, (resident - sum(each.shared for each in found)) / MIB)]


def _reached(looks: list[Look], frames: float) -> Look:
    """The first look by which so many frames are noted, else the last one before files are written."""
    answering = [each for each in looks if not _writes(each, looks)]
    return next((each for each in answering if each.frames >= frames), answering[-1])


def _writes(look: Look, looks: list[Look]) -> bool:
    """Whether it is of the time after the last frames that were noted: the rest of them, and the files."""
    last = next(each for each in looks if each.frames == looks[-1].frames)
    return look.seconds > last.seconds


def _memory(*looks: Look) -> list[str]:
    """The most, as a row of the table has it."""
    if not looks:
        return ["-", "-"]
    return [f"{max(each.resident for each in looks):.1f}", f"{max(each.own for each in looks):.1f}"]


def _results(out: Path) -> dict:
    """What the files hold. Raises ValueError where frames are not in order."""
    with np.load(out / PREDICTIONS) as archive:
        frame, seconds = archive["frame"], archive["time"]
        frames = int(archive["num_frames"])
    if (np.diff(frame) < 0).any() or (np.diff(seconds)[np.diff(frame) > 0] <= 0).any():
        raise ValueError(f"the rows in '{out / PREDICTIONS}' are not in the order of time")
    sizes = {path.name: path.stat().st_size for path in sorted(out.iterdir()) if path.is_file()}
    return {"frames": frames, "rows": len(frame), "bytes": sizes}


def _processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
