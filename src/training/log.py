"""A run's record: metrics.jsonl (one JSON object a line), config.yaml, and an Accelerate tracker beside them."""

import json
import math
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor


class RunLog:
    """Writes on the main process only. A resumed run drops the lines that come after the step it resumes from, and goes on."""

    def __init__(self, run: Path, accelerator: Accelerator, config: dict, *, tracker: bool, step: int = 0):
        self.accelerator, self.tracker, self.file = accelerator, tracker, None
        if accelerator.is_main_process:
            run.mkdir(parents=True, exist_ok=True)
            (run / "config.yaml").write_text(_yaml(config), encoding="utf-8")
            path = run / "metrics.jsonl"
            kept = []
            if step and path.is_file():
                kept = [line for line in path.read_text(encoding="utf-8").splitlines() if json.loads(line)["step"] <= step]
            path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
            self.file = path.open("a", encoding="utf-8")
        if tracker:
            accelerator.init_trackers("tensorboard")

    def train(self, step: int, loss: Tensor, raw: dict[str, Tensor], weights: dict[str, float], **scalars) -> None:
        """One line of training: the total, every term raw and weighted, and whatever else is given."""
        values = {"loss": loss, **{f"raw/{name}": value for name, value in raw.items()}}
        values |= {f"loss/{name}": value * weights[name] for name, value in raw.items() if weights.get(name)}
        self._write(step, "train", values | scalars)

    def validation(self, step: int, scores: dict[str, float]) -> None:
        """One line of validation."""
        self._write(step, "val", scores)

    def _write(self, step: int, split: str, values: dict) -> None:
        numbers = {name: float(value) for name, value in values.items() if value is not None}
        if self.file:
            strict = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
            self.file.write(json.dumps({"step": step, "split": split, **strict}) + "\n")
            self.file.flush()
        if self.tracker:
            self.accelerator.log({f"{split}/{name}": value for name, value in numbers.items()}, step=step)

    def close(self) -> None:
        """Ends trackers, files and the process group."""
        self.accelerator.end_training()
        if self.file:
            self.file.close()


def _yaml(config: dict) -> str:
    import yaml

    return yaml.safe_dump(config, sort_keys=False)
