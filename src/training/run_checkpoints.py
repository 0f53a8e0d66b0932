"""The checkpoints of a run, and where in the run they were written."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tempohand.training.checkpoint import NotSaved, go_back, load_state, save_best, save_step
from tempohand.training.learner import Learner
from tempohand.training.objective import weights_at
from tempohand.training.resume import refuse_other_frozen_weights, refuse_other_run, restore


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0  # optimizer steps done
    best: float = math.inf  # least score so far of the kind by which the best checkpoint is chosen
    lines: int = 0  # of the run's record
    # False: what follows a step (validation, checkpoints) is still to be done for the last one
    finished: bool = True
    scores: dict[str, float] = field(default_factory=dict)  # of the last validation

    @classmethod
    def of(cls, state: dict, scores: dict[str, float]) -> "Progress":
        """That of a checkpoint: its training.pt, and the scores in its config.json."""
        return cls(**{name: state[name] for name in ("step", "best", "lines", "finished")}, scores=scores)


class RunCheckpoints:
    """A run's checkpoints in `root`, written on the main process alone, and the resuming from one of them.

    shared: what of the run a resumed one compares: its `settings` that bind (`binding_settings`), its
    `processes` and `steps`. config: what config.json says of every step.

    The run outlives a full disk: what is learned is in memory, and room may come. `unsaved` says why the last
    checkpoint that was due is missing; None: it is there.
    """

    def __init__(self, root: Path, learner: Learner, shared: dict, config: dict):
        self.root = root
        self.learner = learner
        self.accelerator = learner.accelerator
        self.shared = shared
        self.config = config
        self.unsaved: str | None = None

    def resume(self, directory: Path, init_from: str | None, scores: dict[str, float]) -> Progress:
        """Goes on from a checkpoint of this run: every part gets its state, and later checkpoints are put
        aside. init_from: what the run began with, as it is now; scores: of the checkpoint's config.json.

        Raises ValueError where the checkpoint is of another run, or the frozen weights have changed.
        """
        state = load_state(directory)
        network = self.learner.network
        refuse_other_run(state["settings"], self.shared["settings"], str(directory), network.weight_files)
        if init_from:
            refuse_other_frozen_weights(network, state["network"], init_from)
        now = {name: self.shared[name] for name in ("processes", "steps")}
        restore(state, self.learner.states(), str(directory), say=self.accelerator.print, **now)
        progress = Progress.of(state, scores)
        if self.accelerator.is_main_process:
            go_back(self.root, directory, progress.step, self.accelerator.print)
        return progress

    def save_best(self, progress: Progress, score: float) -> None:
        """Weights alone, where `score` is less than every one before; nan never is."""
        write = partial(save_best, self.root, progress.step)
        if score < progress.best and self._save(progress, write):
            progress.best = score

    def save_step(self, progress: Progress, keep: int) -> None:
        """All that resuming needs; the newest `keep` stay."""
        state = {name: part.state_dict() for name, part in self.learner.states().items()} | self.shared
        state |= {name: value for name, value in asdict(progress).items() if name != "scores"}
        self._save(progress, partial(save_step, self.root, progress.step, state=state, keep=keep))

    def _save(self, progress: Progress, write: Callable[[dict, dict], object]) -> bool:
        if not self.accelerator.is_main_process:
            return False
        try:
            config: dict[str, Any] = {**self.config, "step": progress.step, "scores": progress.scores}
            config["loss"] = weights_at(config["loss"], progress.step, self.shared["steps"])
            write(self.learner.evaluated.state_dict(), config)
            self.unsaved = None
        except NotSaved as error:
            self.unsaved = str(error)
            self.accelerator.print(
                f"step {progress.step}: {error}. Earlier checkpoints are whole, the run goes on and saves "
                "again when one is due next"
            )
        return self.unsaved is None

    def ending(self, step: int, signal: str | None, best: str) -> str:
        """What is said at the end of a run: `best`, or that the signal of that name ended it early."""
        if not signal:
            return f"{best}; checkpoints in '{self.root}'"
        saved = f"{self.unsaved}, a checkpoint before it is" if self.unsaved else "all of it is saved"
        again = "the same command with resume=auto goes on from there"
        return f"stopped by {signal} after step {step}: {saved}; {again}"

    def require_last(self) -> None:
        """Raises ValueError where the checkpoint that was due last could not be written."""
        if self.unsaved:
            raise ValueError(
                f"the last checkpoint of the run is missing: {self.unsaved}; make room, and start the same "
                "command with resume=auto"
            )
