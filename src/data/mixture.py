"""Several tables as one to train on: how often each row comes, which rows do, and an account of what an epoch
will hold.

Everything is decided from the tables' columns; no picture is read.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from tempohand.console import text_table
from tempohand.data.addresses import Address, on_disk
from tempohand.data.addresses import place as place_of
from tempohand.data.table import FrameTable, fingerprint
from tempohand.skeleton import WRIST


@dataclass(frozen=True)
class TableChoice:
    """One table of a mixture: its folder, its splits' names (validation None: it takes no part in
    validation), and its share of an epoch.

    weight: relative to the other tables' weights; None: by its number of rows (all tables of a mixture have a
    weight, or none has).
    """

    root: str
    train: str
    validation: str | None = None
    weight: float | None = None


@dataclass(frozen=True)
class RowFilter:
    """Which rows training clips may end on: at least so many valid 2D joints, and at least so long a longer
    box edge (px of the stored picture)."""

    min_joints2d: int = 0
    min_box: float = 0.0

    def keeps(self, table: FrameTable) -> Bool[np.ndarray, "rows"]:
        box = table.column("box")
        edge = (box[:, 2:] - box[:, :2]).max(1)
        return (table.column("joints2d_mask").sum(1) >= self.min_joints2d) & (edge >= self.min_box)


@dataclass(frozen=True)
class Balance:
    """Evens out distances within each table: rows fall into cells by the wrist's depth (bin edges in mm;
    unknown depth is a cell of its own), and cells come equally often. A cell with fewer than `floor` rows
    comes as much less often, so that rare rows are not repeated absurdly."""

    distance_mm: Sequence[float | int]
    floor: int

    def __post_init__(self):
        if list(self.distance_mm) != sorted(set(self.distance_mm)) or self.floor < 1:
            raise ValueError(f"data.balance: distance_mm rises and floor is at least 1, got {self}")

    def weights(self, depth: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        """Relative frequencies of rows whose wrists lie at `depth` mm (nan: unknown)."""
        cell = np.where(np.isnan(depth), -1, np.digitize(depth, self.distance_mm))
        _, place, count = np.unique(cell, return_inverse=True, return_counts=True)
        return 1.0 / np.maximum(count, self.floor)[place]


class Mixture:
    """The tables of a training run. tables: {name: settings of a TableChoice}. hand: the network's hand
    model; None: the open hand. share_3d: of the training split's recordings, those whose 3D labels are used;
    the others have 2D joints and masks alone.

    Raises ValueError when there is nothing to validate on, weights are given for some tables only, or a table
    cannot be opened.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, Any]], hand: str | None, share_3d: float = 1.0):
        if not 0 <= share_3d <= 1:
            raise ValueError(f"data.share_3d={share_3d} is a share between 0 and 1")
        self.choices = {name: TableChoice(**settings) for name, settings in tables.items()}
        given = [choice.weight is not None for choice in self.choices.values()]
        if any(given) != all(given):
            raise ValueError(
                "data.tables: give every table a weight, or none (then each has as many samples as rows)"
            )
        if any(choice.weight is not None and choice.weight <= 0 for choice in self.choices.values()):
            raise ValueError("data.tables: weights are above 0; leave a table out by ~data.tables.<name>")
        if not any(choice.validation for choice in self.choices.values()):
            raise ValueError(
                "data.tables: no table has a validation split: set data.tables.<name>.validation=<split> "
                "for one of them"
            )
        self.train = FrameTable.joined(
            [FrameTable(choice.root, choice.train) for choice in self.choices.values()], "train"
        )
        validating = [
            FrameTable(choice.root, choice.validation)
            for choice in self.choices.values()
            if choice.validation
        ]
        self.validation = FrameTable.joined(validating, "validation")
        self.hidden_hands = [
            name
            for name, part in zip(self.choices, self.train.parts)
            if _other_hand(part.about, hand) and part.column("has_hand").any()
        ]
        _hide_other_hands(self.train, hand)
        if share_3d < 1:
            recording = self.train.recordings()
            place = np.random.default_rng(0).permutation(int(recording.max()) + 1)
            self.train.hide_3d(place[recording] >= round(share_3d * len(place)))
        _hide_other_hands(self.validation, hand)

    def token_folder(self, given: str | None, key: str = "") -> Path:
        """Where tokens of its frames are kept: the folder that is given, else `key` below one in the first
        table's. Raises ValueError where that is at an address."""
        home = place_of(next(iter(self.choices.values())).root)
        if given is None and isinstance(home, Address):
            raise ValueError(
                f"the table at '{home}' is at an address, where no tokens are kept: give "
                "tokens.folder=<a folder of this machine>"
            )
        return on_disk(given or home / "tokens" / key)

    def fingerprint(self) -> str:
        """A hash of the tables' content and order; of one table its own."""
        each = [fingerprint(choice.root) for choice in self.choices.values()]
        return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()

    def contents(self) -> dict[str, str]:
        """For `train` and `validation` a hash of their rows: of every table's content and of which of its
        splits it gives, in their order."""
        tables = {"train": self.train, "validation": self.validation}
        return {
            name: _hash(part for table in whole.parts for part in (fingerprint(table.root), table.split))
            for name, whole in tables.items()
        }

    def kept(self, eligible: Int[np.ndarray, "m"], filter: RowFilter) -> Int[np.ndarray, "n"]:
        """Those of the rows on which training clips can end that the filter keeps. Raises ValueError when
        none is left."""
        rows = eligible[filter.keeps(self.train)[eligible]]
        if not len(rows):
            raise ValueError(
                f"data.filter ({filter}) keeps none of the {len(eligible):,} rows that clips can end on: "
                "loosen it"
            )
        return rows

    def frequencies(
        self, rows: Int[np.ndarray, "n"], balance: Balance | None
    ) -> Float[np.ndarray, "n"] | None:
        """How often each of the training rows comes in an epoch of n samples, on average; None: each once."""
        weighted = next(iter(self.choices.values())).weight is not None and len(self.choices) > 1
        if balance is None and not weighted:
            return None
        part = self.part_numbers(rows)
        relative = np.ones(len(rows)) if balance is None else self._balanced(rows, part, balance)
        for number, choice in enumerate(self.choices.values()):
            mine = part == number
            if mine.any():
                relative[mine] *= (choice.weight if weighted else mine.sum()) / relative[mine].sum()
        return relative * (len(rows) / relative.sum())

    def part_numbers(self, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """The place of each training row's table among the tables."""
        return np.searchsorted(self.train.offsets, rows, side="right") - 1

    def _balanced(self, rows: np.ndarray, part: np.ndarray, balance: Balance) -> np.ndarray:
        depth = wrist_depth(self.train)[rows]
        relative = np.ones(len(rows))
        for number in range(len(self.choices)):
            relative[part == number] = balance.weights(depth[part == number])
        return relative

    def account(
        self,
        eligible: Int[np.ndarray, "m"],
        rows: Int[np.ndarray, "n"],
        frequency: Float[np.ndarray, "n"] | None,
    ) -> list[str]:
        """What an epoch will hold, a line per table: rows, those on which a clip can end, those that the
        filter keeps, share of the epoch, how often a row comes (mean, most), labels, distances (5/50/95 %,
        mm, as drawn)."""
        table, often = self.train, np.ones(len(rows)) if frequency is None else frequency
        part, of_eligible = self.part_numbers(rows), self.part_numbers(eligible)
        depth = wrist_depth(table)[rows]
        known = {
            "2D": table.column("joints2d_mask").mean(1)[rows],
            "3D": table.column("joints_mask").mean(1)[rows],
            "hand": table.column("has_hand")[rows],
        }
        cells = []
        for number, (name, length) in enumerate(zip(self.choices, np.diff(table.offsets))):
            mine = part == number
            counts = [f"{count:,}" for count in (length, (of_eligible == number).sum(), mine.sum())]
            drawn = ["0.0%", *[""] * (len(known) + 2), "nothing is kept"]
            if mine.any():
                drawn = [
                    f"{often[mine].sum() / often.sum():.1%}",
                    f"{often[mine].mean():.2f}",
                    f"{often[mine].max():.2f}",
                    *(f"{values[mine].mean():.0%}" for values in known.values()),
                    spread(depth[mine], often[mine]),
                ]
            cells.append([name, *counts, *drawn])
        head = ("table", "rows", "clips", "kept", "share", "times", "most", *known, "distance mm")
        lines = text_table(head, cells).splitlines()
        lines.append(f"an epoch: {len(rows):,} samples")
        if self.hidden_hands:
            lines.append(
                f"hand parameters of {', '.join(self.hidden_hands)} belong to another hand model than the "
                "network's and are not used; joints are (network.hand=... sets the network's)"
            )
        return lines


def wrist_depth(table: FrameTable) -> Float[np.ndarray, "rows"]:
    """The wrist's depth, mm; nan where it is unknown or the camera is a guess."""
    known = table.column("joints_mask")[:, WRIST] & table.column("has_camera")
    return np.where(known, table.column("joints")[:, WRIST, 2], np.nan)


def spread_over_parts(table: FrameTable, count: int | None) -> Int[np.ndarray, "n"]:
    """`count` rows of a joined table (None: all), as many of every part as it can give, evenly spread over
    each."""
    lengths = np.diff(table.offsets)
    if count is None or count >= len(table):
        return np.arange(len(table))
    shares = np.zeros(len(lengths), int)
    left = count
    for place, number in enumerate(
        np.argsort(lengths)
    ):  # small parts first: what they cannot give the others do
        shares[number] = min(lengths[number], left // (len(lengths) - place))
        left -= shares[number]
    parts = [np.linspace(0, length - 1, share).round().astype(int) for length, share in zip(lengths, shares)]
    return np.concatenate([np.unique(part) + offset for part, offset in zip(parts, table.offsets)])


def hand_of(about: Mapping[str, Any]) -> str | None:
    """Whose hand parameters a table holds: "open" (the open hand), "mano" (a hand file's), or None: it does
    not say."""
    if "recipe" in about:
        return "mano" if about["recipe"].get("hand") else "open"
    return about.get("hand")


def _other_hand(about: Mapping[str, Any], hand: str | None) -> bool:
    return hand_of(about) not in (None, "mano" if hand else "open")


def _hide_other_hands(table: FrameTable, hand: str | None) -> None:
    others = [_other_hand(part.about, hand) for part in table.parts]
    labels = table.column("has_hand")
    if any(others):
        table.set_has_hand(labels & ~np.repeat(others, np.diff(table.offsets)))


def _hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def spread(depth: Float[np.ndarray, "n"], often: Float[np.ndarray, "n"] | None = None) -> str:
    """The 5, 50 and 95 % quantiles of what is known of depths, as "400/550/720"; often: their weights."""
    known = ~np.isnan(depth)
    if not known.any():
        return "-"
    order = np.argsort(depth[known])
    cumulated = np.cumsum((np.ones(len(depth)) if often is None else often)[known][order])
    places = np.searchsorted(cumulated, np.array([0.05, 0.5, 0.95]) * cumulated[-1])
    return "/".join(f"{value:.0f}" for value in depth[known][order][np.minimum(places, len(order) - 1)])
