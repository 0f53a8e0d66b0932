"""All checks, family by family."""

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from tempohand.data.consistency import HandModels
from tempohand.doctor.crops import check_crops
from tempohand.doctor.depth import check_depth
from tempohand.doctor.labels import check_labels
from tempohand.doctor.learning import check_gradients, check_processes
from tempohand.doctor.network import check_network
from tempohand.doctor.pictures import check_pictures
from tempohand.doctor.resources import check_disk, check_speed
from tempohand.doctor.result import Result
from tempohand.doctor.sequences import check_sequences
from tempohand.doctor.subject import Subject
from tempohand.hand.file_report import report
from tempohand.hand.files import find_hand_file

LABEL_ROWS = (1000, 300)  # of training and validation
LEARNING_RATE = 1e-3  # large enough that a gate that starts at zero is open after a step


def examine(settings: dict, say: Callable[[str], None] = print) -> list[Result]:
    """Checks the data and the network of a training configuration (resolved), and returns what was found, in
    order.

    Nothing is written. Raises FileNotFoundError or ValueError, in one clear line, where there is nothing to
    examine: no table, no such checkpoint, a configuration that contradicts itself.
    """
    results = [check_hand_file(settings["network"].get("hand"))]
    if results[0].verdict == "FAILED":
        return results
    subject = Subject(settings, say)
    weights = subject.weights
    families: dict[str, Callable[[], list[Result]]] = {
        "labels": lambda: check_labels(*subject.label_rows(*LABEL_ROWS), HandModels(subject.hand)),
        "pictures": lambda: check_pictures([subject.train_table, subject.validation_table]),
        "depth": lambda: check_depth([subject.train_table, subject.validation_table]),
        "sequences": lambda: check_sequences(
            subject.train_table, subject.validation_table, subject.settings["network"]["num_frame"]
        ),
        "start": lambda: check_start(subject),
        "samples": lambda: check_samples(subject),
        "crops": lambda: check_crops(subject.batches, subject.settings["view"]["augmentation"]["shift"]),
        "network": lambda: check_network(subject.network, subject.fresh_network(), subject.batches, weights),
        "gradients": lambda: check_gradients(
            subject.fresh_network(), subject.batches, weights, LEARNING_RATE
        ),
        "processes": lambda: [check_processes(subject.fresh_network, subject.samples[0], weights)],
        "speed": lambda: [check_speed(subject)],
        "disk": lambda: check_disk(subject),
    }
    without_samples = {"crops", "network", "gradients", "processes", "speed"}
    bar = tqdm(families.items(), desc="examining", leave=False)
    for name, check in bar:
        bar.set_postfix_str(name)
        if name in without_samples and any(
            result.check == "samples can be drawn" and result.verdict == "FAILED" for result in results
        ):
            continue
        results += check()
    return results


def check_hand_file(path: str | None) -> Result:
    """Whether the hand model loads and poses a hand (tempohand hand check)."""
    name, expected = "hand model", "loads, and rests as its template"
    try:
        facts = report(find_hand_file(path))
    except (ValueError, FileNotFoundError) as error:
        cause = (
            f"{error}. Remedy: network.hand=<MANO_RIGHT.pkl, .npz or .safetensors>, or null for the open "
            "hand."
        )
        return Result(name, "does not work", expected, "FAILED", cause)
    return Result(name, f"{Path(facts['file']).name}, {facts['side']}: {facts['rest pose']}", expected)


def check_start(subject: Subject) -> list[Result]:
    """Whether Stage 2 has a Stage 1 to start from."""
    if subject.kind.stage == 1:
        return []
    start = subject.settings["init_from"]
    if start:
        return [Result("Stage 1 to start from", str(start), "a checkpoint")]
    cause = (
        "Stage 2 needs init_from=<Stage 1 checkpoint>; what follows is checked with random weights in "
        "its place."
    )
    return [Result("Stage 1 to start from", "none", "a checkpoint", "warning", cause)]


def check_samples(subject: Subject) -> list[Result]:
    """Whether training can draw samples at all, and how many rows it has to leave out."""
    name, share = "samples can be drawn", len(subject.training.inconsistent) / len(subject.train_table)
    text, expected = f"{share:.2%} of the rows have inconsistent labels", "0 %"
    try:
        count = len(subject.batches)
    except ValueError as error:
        cause = (
            f"{error}. The checks above say what is wrong with the rows; those of the network wait until "
            "that is mended."
        )
        return [Result(name, text, expected, "FAILED", cause, share)]
    cause = "Training leaves them out; tempohand check-data lists them." if share else ""
    return [Result(name, f"{count} batches; {text}", expected, "warning" if share else "ok", cause, share)]
