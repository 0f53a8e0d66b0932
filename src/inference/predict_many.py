"""The hands in many inputs: each a job of an engine, with a folder of results of its own."""

from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path

from tempohand.batch import HandPrediction
from tempohand.console import USER_ERRORS, describe
from tempohand.data.parallel_jobs import Engine
from tempohand.inference.export import PREDICTIONS
from tempohand.inference.predict_files import Summary, predict_files
from tempohand.inference.settings import PredictSettings
from tempohand.model import registry

OF_ONE = ("boxes", "depth")  # settings that are files of one input's frames


def many(inputs: Sequence[str | Path], settings: PredictSettings) -> list[PredictSettings]:
    """The settings of each input, with its folder of results: its name and "-hands", in `out`.

    Raises ValueError where two have the same folder, or a setting belongs to one input.
    """
    for name in OF_ONE:
        if getattr(settings, name) is not None:
            raise ValueError(f"`{name}` says something of one input's frames, and {len(inputs)} are given")
    folders: dict[Path, str | Path] = {}
    for one in inputs:
        folder = Path(settings.out or ".", f"{Path(one).absolute().stem}-hands")
        if folder in folders:
            raise ValueError(f"'{folders[folder]}' and '{one}' would both go to '{folder}': rename one")
        folders[folder] = one
    return [replace(settings, input=one, out=folder) for folder, one in folders.items()]


def left_of(jobs: Sequence[PredictSettings]) -> list[PredictSettings]:
    """Those whose results are not there yet: a folder gets all of them at once."""
    return [job for job in jobs if not Path(job.out or ".", PREDICTIONS).is_file()]


def predict_many(
    jobs: Sequence[PredictSettings], engine: Engine
) -> Iterator[tuple[PredictSettings, Summary | str]]:
    """(settings, what was made) as the inputs are finished; of one that is of no use, or has no hand in it,
    the reason in one line: it costs itself alone."""
    for (job,), result in engine.map(predict_one, [(job,) for job in jobs]):
        yield job, result


def predict_one(settings: PredictSettings) -> Summary | str:
    """`predict_files` in a worker, which shows nothing of its progress: a summary, or what is wrong in one
    line, which names settings in backquotes."""
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            return predict_files(settings, load=_network)
    except USER_ERRORS as error:
        return describe(error)


@cache
def _network(checkpoint: str):
    """A worker's network, read once."""
    return registry.load_network(checkpoint, HandPrediction)
