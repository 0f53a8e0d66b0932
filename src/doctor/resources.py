"""What a run will need: who waits for whom, and the disk."""

import shutil
import time
from pathlib import Path

from tempohand.doctor.result import Result
from tempohand.doctor.subject import Subject
from tempohand.training.objective import combine

WAITS = 1.5  # a loader so many times slower than the network is worth another worker
TARGET_BYTES = 800  # of a frame's labels, camera and masks in a token record


def check_speed(subject: Subject) -> Result:
    """Clips per second of the loader (measured in this process, times the workers) and of the network
    (forward and backward)."""
    workers = max(subject.settings["data"]["workers"], 1)
    keys = [
        (10**9 + place, int(row))
        for place, row in enumerate(subject.training_rows[:: max(1, len(subject.training_rows) // 8)][:8])
    ]
    start = time.perf_counter()
    read = sum(len(subject.training[key].plan.clips) for key in keys)
    loader = read / (time.perf_counter() - start) * workers
    network, batch = subject.fresh_network(), subject.batches[0]
    times = []
    for _ in range(2):  # the first one warms up
        start = time.perf_counter()
        combine(network.criterion(network(batch), batch), subject.weights)[0].backward()
        times.append(time.perf_counter() - start)
    trained = len(batch.row) / times[-1]
    text = f"loader {loader:.0f} clips/s with {workers} worker(s), network {trained:.0f} clips/s here"
    if subject.settings["tokens"]["mode"] == "cached":
        return Result(
            "loader against network",
            f"{text}; tokens are cached: pictures are read once",
            "any",
            number=loader / trained,
        )
    if loader * WAITS >= trained:
        slower = "the network" if trained < loader else "the loader, hardly"
        return Result(
            "loader against network", f"{text}: {slower} is the bottleneck", "any", number=loader / trained
        )
    more = min(int(workers * trained / loader) + 1, 64)
    cause = (
        f"The network will wait for pictures. Remedy: data.workers={more} where there are cores for them, "
        "or smaller stored pictures."
    )
    return Result(
        "loader against network",
        text,
        f"loader at least 1/{WAITS:g} of network",
        "warning",
        cause,
        loader / trained,
    )


def check_disk(subject: Subject) -> list[Result]:
    """Free disk for checkpoints, and for cached tokens."""
    settings, network = subject.settings, subject.network
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    trained = sum(parameter.numel() * 4 for parameter in network.parameters() if parameter.requires_grad)
    state = (
        weights * (2 if settings["optim"]["ema"] else 1) + 2 * trained
    )  # the network, its average, AdamW's two moments
    need = (settings["log"]["keep"] + 1) * (
        weights + state
    ) + 2 * weights  # one more while it is written; best
    results = [
        _disk(
            "disk for checkpoints", Path(settings["out"]), need, "out=<another disk>, or a smaller log.keep"
        )
    ]
    if settings["tokens"]["mode"] == "cached":
        tokens = settings["tokens"]
        record = network.feature_dim * (4 if tokens["dtype"] == "fp32" else 2) + TARGET_BYTES
        frames = len(subject.train_table) * (tokens["views"] or 1) + len(subject.validation_table)
        folder = subject.mixture.token_folder(tokens["folder"])
        results.append(
            _disk(
                "disk for tokens",
                folder,
                frames * record,
                "tokens.folder=<another disk>, or fewer tokens.views",
            )
        )
    return results


def _disk(name: str, folder: Path, need: int, remedy: str) -> Result:
    """folder need not exist yet."""
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    text = f"{need / 1e9:.3g} GB needed, {free / 1e9:.3g} GB free"
    verdict = "FAILED" if need > free else "warning" if need > free / 2 else "ok"
    cause = "" if verdict == "ok" else f"The disk of '{folder}' will be full. Remedy: make room, {remedy}."
    return Result(name, text, "at most half of what is free", verdict, cause, need / max(free, 1))
