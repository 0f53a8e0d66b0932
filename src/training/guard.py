"""Stops a run at a loss or a gradient that is not finite, on all processes together and before the
optimizer's step."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from tempohand.batch import ClipBatch, Term
from tempohand.training.dump import finish, save_batch
from tempohand.training.finite import ForwardOrder, bad_fields, bad_terms, bad_weights, some
from tempohand.training.objective import weighted_sum

ROWS_SHOWN = 6


class StepGuard:
    """Looks at each optimizer step's losses and gradient norm, both of which all processes share, so that all
    stop at the same place.

    `begin`, then `loss` for every micro-step, then `gradient` with the norm before clipping. What is not
    finite raises ValueError on the main process, in one line, and SystemExit(2) on the others, after a dump
    was left in `folder`/step-<n>.

    settings: the run's (the replay reads seed, loss, mixed_precision, optim.dropout_start); config: what a
    checkpoint's config.json holds, when asked; describe: table rows to words; gather: the given object of
    every process; scale: the loss scale of mixed precision (None: there is none); replay: the command that
    `debug.replay=<dump>` is given to.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: dict[str, float],
        folder: Path,
        *,
        settings: dict,
        config: Callable[[], dict],
        describe: Callable[[list[int]], list[str]],
        rank: int = 0,
        gather: Callable[[object], list] = lambda own: [own],
        scale: Callable[[], float | None] = lambda: None,
        replay: str = "",
    ):
        self.network, self.weights, self.folder, self.settings, self.config = (
            network,
            weights,
            folder,
            settings,
            config,
        )
        self.describe, self.rank, self.gather, self.scale, self.replay = describe, rank, gather, scale, replay
        self.order = ForwardOrder(network)
        self.step, self.batches = 0, []

    def begin(self, step: int) -> None:
        """`step` optimizer steps are done, the next one begins."""
        self.step, self.batches = step, []

    def loss(self, batch: ClipBatch, terms: dict[str, Term], raw: dict[str, Tensor]) -> None:
        """Refuses a loss that is not finite; `raw` are its means over all processes."""
        self.batches.append(batch)
        if math.isfinite(weighted_sum(raw, self.weights)):
            return
        names = sorted(
            name for name, value in raw.items() if self.weights.get(name) and not math.isfinite(value)
        ) or ["their sum"]
        rows = bad_terms({name: term for name, term in terms.items() if name in names}, batch)
        self._stop({"loss": names}, sorted({row for of_term in rows.values() for row in of_term}))

    def gradient(self, norm: float) -> None:
        """Refuses a gradient that is not finite, by its norm over all parameters.

        Under float16 that may be the loss scale's doing: the scaler then skips the step and halves its scale,
        until no scale is left to blame.
        """
        if math.isfinite(norm):
            return
        scale = self.scale()
        if scale is None or scale <= 1:
            self._stop(
                {"gradient": self.order.bad_gradients()},
                [row for batch in self.batches for row in batch.row.tolist()],
            )

    def _stop(self, verdict: dict[str, list[str]], rows: list[int]) -> None:
        folder = self.folder / f"step-{self.step + 1:08d}"
        part = folder.with_name(folder.name + ".part")
        files, error = [f"batch-{micro}-{self.rank}.safetensors" for micro in range(len(self.batches))], None
        try:
            part.mkdir(parents=True, exist_ok=True)
            for file, batch in zip(files, self.batches):
                save_batch(part / file, batch)
        except OSError as reason:
            error = str(reason)
        found = {}
        for batch in self.batches:
            found |= bad_fields(batch)
        found = {name: self.describe(of_field) for name, of_field in found.items()}
        everyone = self.gather({"files": files, "error": error, "rows": self.describe(rows), "fields": found})
        message = ""
        if self.rank == 0:
            files = [
                list(names) for names in zip(*(own["files"] for own in everyone))
            ]  # [micro-step][process]
            error = next((own["error"] for own in everyone if own["error"]), None)
            debug = {"step": self.step, "verdict": verdict, "batches": files, "settings": self.settings}
            if error is None:
                try:
                    finish(part, folder, self.network, self.config(), debug)
                except OSError as reason:
                    error = str(reason)
            if error is not None:
                shutil.rmtree(part, ignore_errors=True)  # all processes' files: everyone has written
            message = self._message(verdict, everyone)
            message += (
                f"; no dump could be left ({error})"
                if error
                else f"; to look closer: {self.replay} debug.replay={folder}"
            )
        self.gather(None)  # nobody leaves before the dump is whole
        if self.rank:
            raise SystemExit(2)
        raise ValueError(message)

    def _message(self, verdict: dict[str, list[str]], everyone: list[dict]) -> str:
        if "loss" in verdict:
            what = f"the loss is not finite at optimizer step {self.step + 1}, in {some(verdict['loss'], 99)}"
        else:
            names, total = (
                verdict["gradient"],
                sum(parameter.grad is not None for parameter in self.network.parameters()),
            )
            what = f"the gradient is not finite at optimizer step {self.step + 1}, first in {some(names)} ({len(names)} of {total} parameters)"
        rows = list(dict.fromkeys(row for own in everyone for row in own["rows"]))
        what += f"; samples: {some(rows, ROWS_SHOWN)}" if rows else ""
        fields: dict[str, list[str]] = {}
        for own in everyone:
            for name, where in own["fields"].items():
                fields.setdefault(name, []).extend(where)
        weights = bad_weights(self.network)
        if fields:
            cause = "not finite in the data: " + "; ".join(
                f"{name} of {some(where, ROWS_SHOWN)}" for name, where in fields.items()
            )
        elif weights:
            cause = f"not finite in the weights: {some(weights)}"
        else:
            cause = "data and weights are finite"
        return f"{what}; {cause}"
