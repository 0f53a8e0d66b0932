"""The protocols of data sets by name: what their server or script prints, from which truth, and what it takes
(docs/protocols.md)."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tempohand.console import text_table
from tempohand.evaluation.bootstrap import LEVEL, MIN_RECORDINGS, RESAMPLES
from tempohand.evaluation.protocols import measures, official
from tempohand.evaluation.protocols.official import Convention
from tempohand.evaluation.protocols.quantity import Figure
from tempohand.evaluation.protocols.submission import Submission, dexycb_text, pred_zip
from tempohand.evaluation.protocols.temporal import temporal
from tempohand.evaluation.results import bounds_text, number
from tempohand.evaluation.samples import Prediction, Truth
from tempohand.evaluation.scores import without_nan


@dataclass(frozen=True)
class Protocol:
    """How one data set is evaluated.

    sources: what the `source` column of its tables says, letters and digits alone; none: any. split: the
    official one. measure: (truth, prediction) -> the figures it prints. vertices: whether they need meshes.
    true_shape: whether the server gives the true shape to the predicted pose. convention: that of the
    official truth files; None: there are none to read. submission: writes the official file; None: there is
    none.
    """

    title: str
    sources: tuple[str, ...]
    split: str
    measure: Callable[[Truth, Prediction], list[Figure]]
    vertices: bool = False
    true_shape: bool = False
    convention: Convention | None = None
    submission: Submission | None = None


def _ho3d(version: str) -> Protocol:
    return Protocol(
        title=f"HO3D {version}, evaluation",
        sources=("ho3d", f"ho3d{version}"),
        split="evaluation",
        measure=measures.ho3d,
        vertices=True,
        convention=official.HO3D,
        submission=pred_zip(official.HO3D),
    )


PROTOCOLS = {
    "freihand": Protocol(
        title="FreiHAND v2, evaluation",
        sources=("freihand",),
        split="evaluation",
        measure=measures.freihand,
        vertices=True,
        convention=official.FREIHAND,
        submission=pred_zip(official.FREIHAND),
    ),
    "ho3d_v2": _ho3d("v2"),
    "ho3d_v3": _ho3d("v3"),
    "dexycb": Protocol("DexYCB, hand pose", ("dexycb",), "s0_test", measures.dexycb, submission=dexycb_text),
    "interhand": Protocol("InterHand2.6M, test", ("interhand", "interhand26m"), "test", measures.interhand),
    "hot3d": Protocol(
        "HOT3D-Clips, pose track", ("hot3d", "hot3dclips"), "val", measures.hot3d, true_shape=True
    ),
    "stb": Protocol("STB, B1", ("stb",), "test", measures.palm_relative),
    "rhd": Protocol("RHD, evaluation", ("rhd",), "evaluation", measures.palm_relative),
    "dexter_object": Protocol("Dexter+Object", ("dexterobject",), "test", measures.fingertips),
    "egodexter": Protocol("EgoDexter", ("egodexter",), "test", measures.fingertips),
    "hint": Protocol("HInt, test", ("hint",), "test", measures.hint),
    "temporal": Protocol("acceleration and stretches", (), "test", temporal, vertices=True),
}


def find_protocol(name: str) -> Protocol:
    """A protocol by name. Raises ValueError listing the names for an unknown one."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol={name} is not known, there are: {', '.join(sorted(PROTOCOLS))}")
    return PROTOCOLS[name]


def check_sources(protocol: Protocol, sources: Iterable[str], table: str | Path) -> None:
    """Raises ValueError when the table has rows of another data set than the protocol's."""
    strange = sorted(
        {source for source in sources if re.sub(r"[^a-z0-9]", "", source.lower()) not in protocol.sources}
    )
    if protocol.sources and strange:
        raise ValueError(
            f"the table at '{table}' has rows of '{strange[0]}', which is not what the protocol is about ({protocol.title})"
        )


def check_files(protocol: Protocol, root: str | None, submission: str | None) -> None:
    """Raises ValueError when official truth or a submission is asked of a protocol that has none,
    FileNotFoundError when the truth is missing."""
    if submission and protocol.submission is None:
        raise ValueError(
            f"there is no official file to write for this protocol ({protocol.title}): leave submission out"
        )
    if root and protocol.convention is None:
        raise ValueError(
            f"there are no official truth files to read for this protocol ({protocol.title}): leave protocol_root out"
        )
    if root:
        official.truth_files(root)


def evaluate_protocol(
    protocol: Protocol, truth: Truth, predictions: dict[str, Prediction]
) -> dict[str, list[Figure]]:
    """row -> its figures."""
    return {row: protocol.measure(truth, prediction) for row, prediction in predictions.items()}


def check_truth(protocol: Protocol, truth: Truth, rows: dict[str, list[Figure]]) -> None:
    """Raises ValueError with the remedy when no figure has a sample: there was no truth to compare with."""
    if any(figure.n for figures in rows.values() for figure in figures):
        return
    if not truth.has_camera.any():
        raise ValueError(
            "no sample has a real camera (has_camera), and the protocol compares in camera space"
        )
    remedy = (
        "give protocol_root=<folder of the official truth>"
        if protocol.convention
        else "choose a split that has it"
    )
    raise ValueError(f"no sample has the truth that the protocol compares with ({protocol.title}): {remedy}")


def protocol_json(rows: dict[str, list[Figure]], drawn_by: str = "recordings", **about) -> dict:
    """The content of protocol_<name>.json: `about`, `bootstrap`, and `rows`: row -> figure -> value, unit, n,
    low, high (None where unknown) and, of areas, the `curve`. drawn_by: what the bootstrap drew, "sequences"
    where the table knows no recordings."""
    tables = {
        row: {
            figure.name: {
                "value": figure.value,
                "unit": figure.unit,
                "n": figure.n,
                "low": figure.interval and figure.interval[0],
                "high": figure.interval and figure.interval[1],
                **({"curve": figure.curve} if figure.curve else {}),
            }
            for figure in figures
        }
        for row, figures in rows.items()
    }
    bootstrap = {
        "resamples": RESAMPLES,
        "seed": 0,
        "level": LEVEL,
        "drawn": drawn_by,
        "least": MIN_RECORDINGS,
    }
    return without_nan({**about, "bootstrap": bootstrap, "rows": tables})


def protocol_table(content: dict) -> str:
    """protocol_<name>.json for a terminal: a line a figure, a column a network."""
    rows, level = content["rows"], content["bootstrap"]["level"]
    lines, intervals = [], False
    for name, figure in next(iter(rows.values())).items():
        cells = [
            number(row[name]["value"]) + bounds_text(row[name]["low"], row[name]["high"])
            for row in rows.values()
        ]
        lines.append([name, figure["unit"], f"{figure['n']}", *cells])
        intervals = intervals or figure["low"] is not None
    how = f"; {level:.0%} intervals: bootstrap over {content['bootstrap']['drawn']}" if intervals else ""
    boxes = content.get("boxes") or "not recorded in the table"
    title = f"{content['title']}: truth is {content['truth']}; boxes: {boxes}{how}"
    table = f"{title}\n{text_table(['', 'unit', 'n', *rows], lines)}"
    missing = f"{content['missing']} samples of the official order have no prediction and are not in the figures: the official script wants all"
    return f"{table}\n{missing}" if content["missing"] else table
