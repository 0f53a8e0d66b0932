"""Checks of what rows are together: time, splits, sides, what is known of them."""

import numpy as np

from tempohand.data.table import FrameTable
from tempohand.doctor.result import Result, judge

FRAME_RATES = (5.0, 250.0)  # of cameras, per second


def check_sequences(train: FrameTable, validation: FrameTable, num_frame: int) -> list[Result]:
    """The results of all checks of sequences."""
    time, starts = train.column("time"), train.sequence_starts()
    step = np.diff(time)[starts[1:] == starts[:-1]]
    results = [*check_time(step, num_frame), check_disjoint(train, validation)]
    right, hidden = train.column("is_right").mean(), np.isfinite(train.column("hidden")).mean()
    results.append(
        Result(
            "sides",
            f"{right:.0%} right, {1 - right:.0%} left",
            "any: left hands are mirrored",
            number=float(right),
        )
    )
    text = "" if hidden else ": evaluation by occlusion will have nothing to say"
    results.append(
        Result("hidden share known", f"in {hidden:.0%} of the rows{text}", "any", number=float(hidden))
    )
    return results


def check_time(step: np.ndarray, num_frame: int) -> list[Result]:
    """Whether time ascends within sequences, and its rate. step: seconds from each frame to the next of its
    sequence."""
    expected = f"{FRAME_RATES[0]:g} to {FRAME_RATES[1]:g} frames/s"
    if not len(step):
        note = "every sequence has one frame"
        return [Result("time ascends", note, "later frames later"), Result("frame rate", note, expected)]
    back = float((~(step > 0)).mean())
    cause = ""
    if back:
        what = (
            "every frame has the same time"
            if not np.any(step)
            else f"{back:.2%} of the frames are not later than the one before"
        )
        cause = (
            f"{what}. Remedy: sort each sequence's rows by time, and write seconds (frame number / frame "
            "rate where there is no clock)."
        )
    verdict = (
        judge(back, fail=0.0) if num_frame > 1 or back == 0 else "warning"
    )  # Stage 1 looks at single frames
    results = [Result("time ascends", f"{1 - back:.2%} of the steps", "all", verdict, cause, 1 - back)]
    seconds = float(np.median(np.abs(step)))
    rate = 1 / seconds if seconds else float("inf")
    text = f"{rate:.4g} frames/s (median)"
    verdict = "ok"
    cause = ""
    if not FRAME_RATES[0] <= rate <= FRAME_RATES[1]:
        verdict, cause = (
            ("FAILED" if num_frame > 1 else "warning"),
            "Time is in seconds, and the temporal encoder reads it. ",
        )
        for unit, divisor in (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)):
            if seconds > 1 and FRAME_RATES[0] <= rate * divisor <= FRAME_RATES[1]:
                cause += f"Likely {unit}. Remedy: divide time by {divisor:g}."
                break
        else:
            cause += (
                "Likely frame numbers. Remedy: divide them by the frame rate."
                if seconds == 1
                else "Remedy: look at the conversion of time."
            )
    return [*results, Result("frame rate", text, expected, verdict, cause, rate)]


def check_disjoint(train: FrameTable, validation: FrameTable) -> Result:
    """Whether no sequence, no recording, and no single frame's joints, are in both splits."""
    shared, filmed = (
        np.intersect1d(
            *(
                table.column(name)[np.unique(table.sequence_starts())].astype(str)
                for table in (train, validation)
            )
        )
        for name in ("sequence", "recording")
    )
    frames = [
        np.ascontiguousarray(table.column("joints2d")[table.column("joints2d_mask").all(1)].reshape(-1, 42))
        for table in (train, validation)
    ]
    twice = (
        len(np.intersect1d(*(np.unique(rows.view(f"V{rows.itemsize * 42}")) for rows in frames)))
        if all(map(len, frames))
        else 0
    )
    text = f"{len(shared)} sequences and {twice} frames in both"
    if not len(shared) and not twice and len(filmed):
        text = (
            f"{len(filmed)} recordings in both, of other cameras or hands "
            f"({', '.join(filmed[:3])}{', ...' if len(filmed) > 3 else ''})"
        )
        cause = (
            "Validation sees the hands that training saw, at the same moments, from elsewhere: its "
            "scores say nothing of other people."
        )
        cause += (
            " Remedy: split by recording or person, unless other cameras are what is asked about "
            "(DexYCB's s2)."
        )
        return Result("splits are disjoint", text, "none", "warning", cause, float(len(filmed)))
    if not len(shared) and not twice:
        return Result("splits are disjoint", text, "none", number=0.0)
    which = f" ({', '.join(shared[:3])}{', ...' if len(shared) > 3 else ''})" if len(shared) else ""
    cause = (
        f"Validation sees what training saw{which}: its scores will be too good. Remedy: split by "
        "sequence or person, never by frame."
    )
    return Result("splits are disjoint", text, "none", "FAILED", cause, float(len(shared) or twice))
