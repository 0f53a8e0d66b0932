"""The hand layer beside smplx's on the same hand: forward, forward and backward, joints alone, memory."""

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import torch

from tempohand.hand.files import OPEN_HAND
from tempohand.hand.layer import HandLayer
from tempohand.skeleton import NUM_BETAS, POSE_DIM

from .report import Report, time_in_turns

BATCHES = (1, 32, 256)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hand", type=Path, default=OPEN_HAND, help="hand model file that both read (default: the open hand)"
    )
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="time for each measurement (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> Report:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ours = HandLayer(arguments.hand).to(device)
    ratios = {}
    details = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for batch in BATCHES:
            theirs = _smplx(arguments.hand, batch, Path(folder)).to(device)
            generator = torch.Generator().manual_seed(batch)
            pose, betas = (
                torch.randn(batch, width, generator=generator).to(device) * 0.3
                for width in (POSE_DIM, NUM_BETAS)
            )
            trans = torch.zeros(batch, 3, device=device)
            calls = _calls(ours, theirs, pose, betas, trans)
            seconds = {}
            for kind, pair in calls.items():
                seconds[kind] = time_in_turns(pair, seconds=arguments.seconds)
            memory = {name: _peak_bytes(call, device) for name, call in calls["forward_backward"].items()}
            for kind, taken in seconds.items():
                name = f"{kind}_{batch}"
                ratios[name] = taken["smplx"] / taken["ours"]
                details[name] = {f"{who}_ms": 1e3 * value for who, value in taken.items()}
                rows.append(
                    [
                        str(batch),
                        kind.replace("_", " + "),
                        *(f"{1e3 * taken[w]:.2f} ms" for w in taken),
                        f"{ratios[name]:.1f}",
                    ]
                )
            ratios[f"memory_{batch}"] = memory["smplx"] / memory["ours"]
            details[f"memory_{batch}"] = {f"{who}_bytes": value for who, value in memory.items()}
            row = [str(batch), "memory, forward + backward", *(f"{memory[w] / 1e6:.2f} MB" for w in memory)]
            rows.append([*row, f"{ratios[f'memory_{batch}']:.1f}"])
    return Report(["hands", "what", "ours", "smplx", "ratio"], rows, ratios, details)


def _smplx(hand: Path, batch: int, folder: Path) -> torch.nn.Module:
    """smplx's layer on the same tables; it reads a pickle. Raises ValueError where it is not installed."""
    import pickle

    try:
        import smplx
    except ImportError:
        raise ValueError(
            "smplx is not installed; it comes with the tests (pip install -e '.[test]'), "
            "for non-commercial use only"
        ) from None

    path = folder / "MANO_RIGHT.pkl"
    with np.load(hand) as archive:
        path.write_bytes(pickle.dumps(dict(archive)))
    with contextlib.redirect_stdout(io.StringIO()):
        return smplx.create(
            str(path), model_type="mano", use_pca=False, flat_hand_mean=True, batch_size=batch
        )


def _calls(ours: HandLayer, theirs: torch.nn.Module, pose, betas, trans) -> dict:
    """kind -> who -> a call. Both give joints and vertices; backward goes to pose, shape and translation."""
    inputs = [x.clone().requires_grad_() for x in (pose, betas, trans)]

    def ours_forward(pose, betas, trans):
        return ours(pose, betas, trans)

    def theirs_forward(pose, betas, trans):
        out = theirs(betas=betas, global_orient=pose[:, :3], hand_pose=pose[:, 3:], transl=trans)
        return out.joints, out.vertices

    def backward(forward):
        with torch.no_grad():
            gradients = [torch.randn_like(output) for output in forward(pose, betas, trans)]

        def call():
            return torch.autograd.grad(forward(*inputs), inputs, gradients)

        return call

    def plain(forward):
        def call():
            with torch.no_grad():
                return forward(pose, betas, trans)

        return call

    both = {"ours": ours_forward, "smplx": theirs_forward}
    joints_alone = {"ours": lambda p, b, t: (ours.joints(p, b, t),), "smplx": theirs_forward}
    return {
        "forward": {who: plain(call) for who, call in both.items()},
        "forward_backward": {who: backward(call) for who, call in both.items()},
        "joints_alone": {who: plain(call) for who, call in joints_alone.items()},
    }


def _peak_bytes(call, device: str) -> int:
    """Most memory that tensors take at once during the call, beyond what there was before it."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        call()
    held = most = 0
    for event in sorted(profile.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most
