"""What is lacking of an input of which a part could not be read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Incomplete:
    """How many frames there should be and how many there are, and why, in words that continue "it is
    incomplete: "."""

    announced: int | None  # by the file or folder; None where nothing announces them
    decoded: int
    reason: str
