"""How one data set is evaluated, and what can be asked of its protocol (docs/protocols.md)."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tempohand.batch import ClipBatch, HandPrediction
from tempohand.evaluation.protocols.challenge_files import Convention, truth_files
from tempohand.evaluation.protocols.official_order import Submission
from tempohand.evaluation.protocols.quantity import Quantity
from tempohand.evaluation.samples import Prediction, Truth
from tempohand.hand.layer import HandLayer


@dataclass(frozen=True)
class Protocol:
    """How one data set is evaluated.

    sources: what the `source` column of its tables says, letters and digits alone; none: any. split: the
    official one. measure: (truth, prediction) -> the quantities that it prints. vertices: whether they need
    meshes. adapt: makes, of a hand layer, what the server does to predictions before it measures them; None:
    nothing. convention: that of the official truth files; None: there are none to read. submission: writes
    the official file; None: there is none.
    """

    title: str
    sources: tuple[str, ...]
    split: str
    measure: Callable[[Truth, Prediction], list[Quantity]]
    vertices: bool = False
    adapt: Callable[[HandLayer], Callable[[HandPrediction, ClipBatch], HandPrediction]] | None = None
    convention: Convention | None = None
    submission: Submission | None = None

    def check_sources(self, sources: Iterable[str], table: str | Path) -> None:
        """Raises ValueError when the table has rows of another data set than the protocol's."""
        strange = sorted(
            {source for source in sources if re.sub(r"[^a-z0-9]", "", source.lower()) not in self.sources}
        )
        if self.sources and strange:
            raise ValueError(
                f"the table at '{table}' has rows of '{strange[0]}', which is not what the protocol is about "
                f"({self.title})"
            )

    def check_files(self, root: str | Path | None, submission: str | Path | None) -> None:
        """Raises ValueError when official truth or a submission is asked of a protocol that has none,
        FileNotFoundError when the truth is missing."""
        if submission and self.submission is None:
            raise ValueError(
                f"there is no official file to write for this protocol ({self.title}): leave submission out"
            )
        if root and self.convention is None:
            raise ValueError(
                f"there are no official truth files to read for this protocol ({self.title}): "
                "leave protocol_root out"
            )
        if root:
            truth_files(root)

    def evaluate(self, truth: Truth, predictions: dict[str, Prediction]) -> dict[str, list[Quantity]]:
        """Row (a network by its name) -> its quantities."""
        return {row: self.measure(truth, prediction) for row, prediction in predictions.items()}

    def check_truth(self, truth: Truth, rows: dict[str, list[Quantity]]) -> None:
        """Raises ValueError with the remedy when no quantity has a sample: there was no truth to compare
        with."""
        if any(quantity.n for quantities in rows.values() for quantity in quantities):
            return
        if not truth.has_camera.any():
            raise ValueError(
                "no sample has a real camera (has_camera), and the protocol compares in camera space"
            )
        remedy = (
            "give protocol_root=<folder of the official truth>"
            if self.convention
            else "choose a split that has it"
        )
        raise ValueError(f"no sample has the truth that the protocol compares with ({self.title}): {remedy}")
