"""The checkpoints of a run, and where in the run they were written."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from accelerate import Accelerator
from torch import nn

from tempohand.training.checkpoint import NotSaved, save_best, save_step
from tempohand.training.objective import weights_at


@dataclass
class Progress:
    """How far a run is."""

    step: int = 0  # optimizer steps done
    best: float = math.inf  # least score so far of the kind by which the best checkpoint is chosen
    lines: int = 0  # of the run's record
    finished: bool = (
        True  # False: what follows a step (validation, checkpoints) is still to be done for the last
    )
    scores: dict[str, float] = field(default_factory=dict)  # of the last validation

    @classmethod
    def of(cls, state: dict, scores: dict[str, float]) -> "Progress":
        """That of a checkpoint: its training.pt, and the scores in its config.json."""
        return cls(**{name: state[name] for name in ("step", "best", "lines", "finished")}, scores=scores)


class RunCheckpoints:
    """Writes a run's checkpoints into `root`, on the main process alone.

    evaluated: the network whose weights are validated and used. parts: name -> what has a state that resuming
    needs. shared: what else of the run a resumed one compares. config: what config.json says of every step.

    The run outlives a full disk: what is learned is in memory, and room may come. `unsaved` says why the last
    checkpoint that was due is missing; None: it is there.
    """

    def __init__(
        self,
        root: Path,
        accelerator: Accelerator,
        evaluated: nn.Module,
        parts: dict,
        shared: dict,
        config: dict,
    ):
        self.root = root
        self.accelerator = accelerator
        self.evaluated = evaluated
        self.parts = parts
        self.shared = shared
        self.config = config
        self.unsaved: str | None = None

    def save_best(self, progress: Progress) -> bool:
        """Weights alone; whether this process wrote them."""
        return self._save(
            progress, lambda weights, config: save_best(self.root, progress.step, weights, config)
        )

    def save_step(self, progress: Progress, keep: int) -> bool:
        """All that resuming needs; the newest `keep` stay. Whether this process wrote it."""
        state = {name: part.state_dict() for name, part in self.parts.items()} | self.shared
        state |= {name: value for name, value in asdict(progress).items() if name != "scores"}
        return self._save(
            progress,
            lambda weights, config: save_step(self.root, progress.step, weights, config, state, keep),
        )

    def _save(self, progress: Progress, write: Callable[[dict, dict], object]) -> bool:
        if not self.accelerator.is_main_process:
            return False
        try:
            config = {**self.config, "step": progress.step, "scores": progress.scores}
            config["loss"] = weights_at(config["loss"], progress.step)
            write(self.evaluated.state_dict(), config)
            self.unsaved = None
        except NotSaved as error:
            self.unsaved = str(error)
            self.accelerator.print(
                f"step {progress.step}: {error}. Earlier checkpoints are whole, the run goes on and saves "
                "again when one is due next"
            )
        return self.unsaved is None
