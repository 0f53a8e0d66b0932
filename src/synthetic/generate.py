"""Makes a frame table of synthetic sequences: in parallel, resumable, and byte for byte the same whoever and
however many do it."""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from tqdm import tqdm

import tempohand.hand
from tempohand.data.parallel_jobs import LOCAL, Engine, claim, need_all
from tempohand.data.summary import summary
from tempohand.data.table import write_index, write_shard
from tempohand.synthetic.given import Given, GivenPaths
from tempohand.synthetic.hand_kit import HandKit
from tempohand.synthetic.render_sequence import SequenceConfig, SequenceRenderer
from tempohand.synthetic.scene import compose

VERSION = 1  # of the pictures: raised when the same configuration gives other ones
SPLITS = ("train", "val", "test")
SEQUENCES_PER_SHARD = 32


@runtime_checkable
class TableConfig(Protocol):
    """What `make_table` asks of a configuration. sequences, frames: how many, and how long, in each split;
    per_shard: sequences that a shard holds; rows: those of one sequence, whatever else is drawn."""

    @property
    def seed(self) -> int: ...
    @property
    def sequences(self) -> dict[str, int]: ...
    @property
    def frames(self) -> dict[str, int]: ...
    @property
    def hand(self) -> str | None: ...
    @property
    def given(self) -> GivenPaths: ...
    @property
    def per_shard(self) -> int: ...
    def recipe(self) -> dict[str, Any]: ...
    def rows(self, split: str, index: int) -> Iterator[dict]: ...


@dataclass(frozen=True)
class SyntheticConfig(SequenceConfig):
    """Everything that determines the frames. `sequences`, `frames`: how many, and how long, in each split."""

    seed: int
    sequences: dict[str, int]
    frames: dict[str, int]
    hand: str | None  # hand model file; None: the open hand
    backgrounds: str | None  # a folder of photos to put behind the hand; None: procedural ones only
    skins: str | None  # folder or tar archive of photographed hands; None: drawn skin only
    panoramas: str | None  # folder or tar archive of them, for light and background; None: drawn ones only

    @property
    def given(self) -> GivenPaths:
        """The files to use beside the hand."""
        return GivenPaths(self.backgrounds, self.skins, self.panoramas)

    @property
    def per_shard(self) -> int:
        """Sequences of a shard."""
        return SEQUENCES_PER_SHARD

    def recipe(self) -> dict[str, Any]:
        """Everything that the bytes depend on, as JSON values."""
        recipe = recipe_of(self, VERSION)
        if not self.depth.probability:
            recipe.pop("depth")  # tables from before there was any are made of the same
        return recipe

    def rows(self, split: str, index: int) -> Iterator[dict]:
        """The rows of one sequence, in order."""
        return film_sequence(self, split, index)


def recipe_of(config: TableConfig, version: int) -> dict[str, Any]:
    """A configuration (a dataclass), the version of its pictures, the hand model and the files that are
    given, as JSON values."""
    hand = Path(config.hand) if config.hand else Path(tempohand.hand.__path__[0]) / "open_hand.npz"
    recipe = asdict(cast(Any, config)) | {"version": version}
    if hand.is_file():
        recipe["hand_sha256"] = hashlib.sha256(hand.read_bytes()).hexdigest()
    return json.loads(json.dumps(recipe | config.given.fingerprints()))


def built(kind: Any, mapping: dict[str, Any], path: str = ""):
    """A configuration's dataclass from nested dictionaries (a configuration file's). Raises ValueError naming
    a key that is missing or unknown. path: of the mapping in the whole, for messages."""
    known = {field.name: field.type for field in fields(kind)}
    if unknown := sorted(set(mapping) - set(known)):
        raise ValueError(
            f"synthetic data has no setting {path}{unknown[0]}; "
            f"there are: {', '.join(path + name for name in known)}"
        )
    if missing := sorted(set(known) - set(mapping)):
        raise ValueError(f"synthetic data lacks the setting {path}{missing[0]}")
    values = {}
    for name, value in mapping.items():
        if isinstance(known[name], type) and hasattr(known[name], "__dataclass_fields__"):
            value = built(known[name], value, f"{path}{name}.")
        values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


# ----- one process ------------------------------------------------------------------------------------------


@cache
def hand_kit(path: str | None) -> HandKit:
    """`HandKit.load`, once a process."""
    return HandKit.load(path)


@cache
def given(paths: GivenPaths, hand: str | None) -> Given:
    """The files beside the hand, read once a process. Raises FileNotFoundError or ValueError for what is of
    no use."""
    if paths.skins and hand:
        raise ValueError(f"skins={paths.skins} fit the open hand alone: leave out hand={hand}, or skins=")
    return paths.load(hand_kit(hand))


def film_sequence(config: SyntheticConfig, split: str, index: int):
    """The rows of one sequence, in order. The generator's seed is (seed, split, index), so they do not depend
    on other sequences."""
    rng = np.random.default_rng([config.seed, SPLITS.index(split), index])
    kit = hand_kit(config.hand)
    scene = compose(rng, kit, config.frames[split], config)
    renderer = SequenceRenderer(rng, scene, kit, config, given(config.given, config.hand))
    yield from renderer.rows(f"synthetic-{split}-{index:06d}")


def _write(config: TableConfig, split: str, indices: range, path: Path) -> int:
    return write_shard(path, (row for index in indices for row in config.rows(split, index)))


# ----- all of them ------------------------------------------------------------------------------------------


def make_table(
    config: TableConfig, out: str | Path, *, engine: Engine = LOCAL, overwrite: bool = False
) -> bool:
    """Draws every sequence of `config` into a frame table at `out`; returns whether there was anything left
    to do.

    Finished shards of an interrupted run with the same configuration are kept. engine: what draws them.
    Raises ValueError when `out` holds something else (another configuration's table, other files) and
    `overwrite` is not set, or a setting makes no sense.
    """
    out = Path(out)
    if set(config.sequences) != set(SPLITS) or set(config.frames) != set(SPLITS):
        raise ValueError(
            f"sequences and frames name the splits {', '.join(SPLITS)}, not {', '.join(config.sequences)}"
        )
    if not any(config.sequences.values()):
        raise ValueError("there is nothing to make: the number of sequences is 0 in every split")
    # A missing hand file, and others that are of no use, are reported here, not by every process.
    given(config.given, config.hand)
    recipe = config.recipe()
    if claim(out, recipe, overwrite=overwrite):
        print(f"'{out}' is complete: nothing to do (overwrite=true makes it again)")
        return False
    shards = {
        split: [
            range(start, min(start + config.per_shard, count)) for start in range(0, count, config.per_shard)
        ]
        for split, count in config.sequences.items()
    }
    names = {
        split: [f"{split}-{number:05d}.arrow" for number in range(len(parts))]
        for split, parts in shards.items()
    }
    jobs = [
        (split, part, out / name)
        for split in SPLITS
        for part, name in zip(shards[split], names[split], strict=True)
    ]
    todo = [job for job in jobs if not job[2].exists()]
    started, made = time.perf_counter(), 0
    total = sum(len(part) * config.frames[split] for split, part, _ in todo)
    with tqdm(total=total, unit="frame", desc="drawing", disable=not todo) as progress:
        for _, count in engine.map(_write, [(config, *job) for job in todo]):
            made += count
            progress.update(count)
    seconds = time.perf_counter() - started
    need_all(job[2] for job in jobs)
    write_index(out, names, {"dataset": "synthetic", "recipe": recipe})
    print(summary(out))
    rate = made / max(seconds, 1e-9)
    print(f"{made} frames in {seconds:.1f} s with {engine}: {rate:.0f} frames/s")
    return True
