"""Makes a frame table of synthetic sequences: in parallel, resumable, and byte for byte the same however many
processes do it."""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import tempohand.hand
from tempohand.data.parallel_jobs import claim, in_parallel
from tempohand.data.summary import summary
from tempohand.data.table import write_index, write_shard
from tempohand.synthetic.given import Given, GivenPaths
from tempohand.synthetic.hand_kit import HandKit
from tempohand.synthetic.render_sequence import SequenceConfig, SequenceRenderer
from tempohand.synthetic.scene import compose

VERSION = 1  # of the pictures: raised when the same configuration gives other ones
SPLITS = ("train", "val", "test")
SEQUENCES_PER_SHARD = 32


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

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> "SyntheticConfig":
        """From nested dictionaries (a configuration file's). Raises ValueError naming a key that is missing
        or unknown."""
        return _build(cls, mapping, "")

    def recipe(self) -> dict[str, Any]:
        """Everything that the bytes depend on, as JSON values: the configuration, the version, the hand
        model, the photos."""
        hand = Path(self.hand) if self.hand else Path(tempohand.hand.__path__[0]) / "open_hand.npz"
        recipe = asdict(self) | {"version": VERSION}
        if not self.depth.probability:
            recipe.pop("depth")  # tables from before there was any are made of the same
        if hand.is_file():
            recipe["hand_sha256"] = hashlib.sha256(hand.read_bytes()).hexdigest()
        return json.loads(json.dumps(recipe | self.given.fingerprints()))


def _build(kind: type, mapping: dict[str, Any], path: str):
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
            value = _build(known[name], value, f"{path}{name}.")
        values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


# ----- one process ------------------------------------------------------------------------------------------


@cache
def _kit(path: str | None) -> HandKit:
    return HandKit.load(path)


@cache
def _given(paths: GivenPaths, hand: str | None) -> Given:
    if paths.skins and hand:
        raise ValueError(f"skins={paths.skins} fit the open hand alone: leave out hand={hand}, or skins=")
    return paths.load(_kit(hand))


def film_sequence(config: SyntheticConfig, split: str, index: int):
    """The rows of one sequence, in order. The generator's seed is (seed, split, index), so they do not depend
    on other sequences."""
    rng = np.random.default_rng([config.seed, SPLITS.index(split), index])
    kit = _kit(config.hand)
    scene = compose(rng, kit, config.frames[split], config)
    renderer = SequenceRenderer(rng, scene, kit, config, _given(config.given, config.hand))
    yield from renderer.rows(f"synthetic-{split}-{index:06d}")


def _write(config: SyntheticConfig, split: str, indices: range, path: Path) -> int:
    return write_shard(path, (row for index in indices for row in film_sequence(config, split, index)))


# ----- all of them ------------------------------------------------------------------------------------------


def make_table(
    config: SyntheticConfig, out: str | Path, *, processes: int | None = None, overwrite: bool = False
) -> bool:
    """Films every sequence of `config` into a frame table at `out`; returns whether there was anything left
    to do.

    Finished shards of an interrupted run with the same configuration are kept. processes: None for one a
    core. Raises ValueError when `out` holds something else (another configuration's table, other files) and
    `overwrite` is not set, or a setting makes no sense.
    """
    out = Path(out)
    processes = os.cpu_count() or 1 if processes is None else processes
    if processes < 1:
        raise ValueError(f"processes={processes}: at least one process has to work")
    if set(config.sequences) != set(SPLITS) or set(config.frames) != set(SPLITS):
        raise ValueError(
            f"sequences and frames name the splits {', '.join(SPLITS)}, not {', '.join(config.sequences)}"
        )
    if not any(config.sequences.values()):
        raise ValueError("there is nothing to make: the number of sequences is 0 in every split")
    # A missing hand file, and others that are of no use, are reported here, not by every process.
    _given(config.given, config.hand)
    recipe = config.recipe()
    if claim(out, recipe, overwrite=overwrite):
        print(f"'{out}' is complete: nothing to do (overwrite=true makes it again)")
        return False
    shards = {
        split: [
            range(start, min(start + SEQUENCES_PER_SHARD, count))
            for start in range(0, count, SEQUENCES_PER_SHARD)
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
    with tqdm(total=total, unit="frame", desc="filming", disable=not todo) as progress:
        for _, count in in_parallel(_write, [(config, *job) for job in todo], processes, __name__):
            made += count
            progress.update(count)
    seconds = time.perf_counter() - started
    write_index(out, names, {"dataset": "synthetic", "recipe": recipe})
    print(summary(out))
    rate = made / max(seconds, 1e-9)
    print(f"{made} frames in {seconds:.1f} s with {processes} processes: {rate:.0f} frames/s")
    return True
