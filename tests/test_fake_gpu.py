"""Training, validation, evaluation and prediction of every network on a device that is not the CPU
(fake_gpu.py): nothing stays behind on the CPU, and what is waited for is what docs/architecture.md says. What
comes back is copied (fake_gpu.py's "cpu"), all of it at once."""

import contextlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from fake_gpu import DEVICE, put, watched
from hand3d_support import SMALL as HAND3D
from hand3d_support import hand3d_batch
from tests_support import compose_config, random_batch, small_network, with_features
from utnet_support import SMALL as UTNET
from utnet_support import utnet_batch

from tempohand.data.clips import Clips
from tempohand.evaluation.baselines import CropLabels, fit_constant_hand
from tempohand.evaluation.evaluator import PerFrame, TruthKeeper, predict_sequences, score_sequences
from tempohand.evaluation.protocols.true_shape import with_true_shape
from tempohand.evaluation.report.strips import StripKeeper, choose_strips
from tempohand.evaluation.scores import LossOverFrames
from tempohand.evaluation.stages import build_predictors
from tempohand.evaluation.tuning import default_filters, tune_filters
from tempohand.evaluation.validation import scores_of
from tempohand.inference.finder import HandFinder
from tempohand.inference.inputs import HandInput
from tempohand.inference.predictor import StreamingPredictor
from tempohand.inference.source import SourceFrame
from tempohand.model.registry import build_network
from tempohand.training.objective import weights_at
from tempohand.training.processes import average_statistics
from tempohand.training.step_checks import StepChecks

FINDER = {
    "name": "finder",
    "num_frame": 1,
    "size": 64,
    "expansion": 4.0,
    "width": 16,
    "backbone": {
        "name": "tempohand_tiny",
        "weights": None,
        "options": {"stem": 16, "stages": [[16, 1], [32, 1], [32, 1], [32, 1]]},
    },
}
HEATMAP = {
    "spatial": small_network(1)["spatial"] | {"heads": {"translation": "heatmap"}},
    "norm_by_hand": True,
}
# name -> network, its configuration
NETWORKS = {
    "Stage 1": (small_network(1), "stage1-tiny"),
    "Stage 1 with other heads": (small_network(1, **HEATMAP), "stage1-tiny"),
    "Stage 2 from pictures": (small_network(2), "stage2-tiny"),
    "Stage 2 from tokens": (small_network(2), "stage2-tiny"),
    "finder": (FINDER, "find-tiny"),
    "UTNet": (UTNET, "utnet-tiny"),
    "Hand3D": (HAND3D, "hand3d-tiny"),
}
BATCHES = {"utnet": utnet_batch, "hand3d": hand3d_batch}


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """It knows devices that compute alone."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


@pytest.fixture(params=NETWORKS)
def case(request):
    """(network, batch, settings), all on the device."""
    settings, name = NETWORKS[request.param]
    torch.manual_seed(0)
    network = build_network(settings)
    batch = BATCHES.get(settings["name"], lambda: random_batch(4, settings["num_frame"]))()
    if request.param == "Stage 2 from tokens":
        dim = network.spatial.packed_dim
        batch = with_features(batch, torch.zeros(len(batch.frames), dim))
    put(network)
    return network, put(batch), compose_config(name)


def test_a_step_waits_for_the_loss_and_the_gradients_norm(case, tmp_path):
    network, batch, settings = case
    accelerator = Accelerator(cpu=True)
    settings["out"] = str(tmp_path)
    checks = StepChecks(accelerator, network, settings, config={}, describe_row=str, command="")
    with watched() as waited:
        checks.begin_step(0, logged=True)
        prediction = network(batch)
        terms = network.criterion(prediction, batch)
        assert waited == []
        loss = checks.loss(batch, prediction, terms)
        assert waited == ["cpu"]
        loss.backward()
        checks.clip_gradient(1.0)
        assert waited == ["cpu", "item"]
        # (The optimizer's own step is PyTorch's, and knows its devices by name.)
        average_statistics(network, lambda x: x, 2)
        assert waited == ["cpu", "item"]
    assert all(
        parameter.grad is None or parameter.grad.device == DEVICE for parameter in network.parameters()
    )
    with watched():
        checks.log_values()


def test_validation(case):
    """It waits once for its sums; of every batch it asks whether predictions are finite, takes their paths
    (PoseNet), or finds peaks (finder)."""
    network, batch, settings = case
    network.eval()
    batch = replace(batch, previous=None)
    validation = scores_of(network.prediction)(2.0, np.zeros(4, int), np.arange(4) / 30)
    with watched() as waited, torch.no_grad():
        prediction = network(batch)
        validation.add(prediction, batch, network.criterion(prediction, batch))
        scores = validation.means(lambda x: [x], weights_at(settings["loss"], 0, 1))
    assert set(validation.UNITS) <= scores.keys() and waited.count("tolist") == 1
    assert set(waited) <= {"tolist", "bool", "nonzero", "unique", "mask", "cpu"}


STAGES = {
    "Stage 1": small_network(1),
    "Stage 1 with other heads": small_network(1, **HEATMAP),
    "Stage 2": small_network(2),
}


@pytest.mark.parametrize("name", STAGES)
def test_live_prediction_waits_once_a_pass(name):
    network, image = build_network(STAGES[name]), np.zeros((48, 80, 3), np.uint8)
    predictor = StreamingPredictor(network, device=DEVICE, batch_size=3)

    def hands(frame):
        boxes = [(10, 8, 40, 38), (30, 8, 60, 38)]
        common = {"image": image, "time": frame / 30}
        return [HandInput(**common, box=box, hand=hand, is_right=hand == 0) for hand, box in enumerate(boxes)]

    with watched() as waited:
        one = predictor.push(image, (10, 8, 40, 38), 0.0)
        # Two passes, of three hands and of one.
        several = predictor.push_all([hand for frame in (1, 2) for hand in hands(frame)])
        assert waited == 3 * ["cpu"]
        said = predictor.look(hands(3)[1])
        assert waited == [*3 * ["cpu"], "tolist"]
    histories = [1, 2, 1, 3, 2] if network.num_frame > 1 else [1] * 5
    assert [estimate.history for estimate in (one, *several)] == histories
    for estimate in (one, *several):
        found = [
            getattr(estimate, name) for name in ("pose", "shape", "trans", "joints", "vertices", "joints2d")
        ]
        assert [value.shape for value in found] == [(48,), (10,), (3,), (21, 3), (778, 3), (21, 2)]
        assert all(value.dtype == np.float32 and np.isfinite(value).all() for value in found)
    assert (said.right_logit, said.certainty) == (
        1.0,
        1.0,
    )  # what the device without values says of everything


@pytest.mark.parametrize("tiles", [1, 3])
def test_the_finder_waits_once_a_picture(tiles):
    finder = HandFinder(build_network(FINDER), device=DEVICE, tiles=tiles, max_hands=4, threshold=0.1)
    with watched() as waited:
        finder.detect(SourceFrame(0, 0.0, np.zeros((48, 80, 3), np.uint8), ""))
    assert waited == ["cpu"]


@pytest.mark.parametrize("shared", [True, False], ids=["one spatial network", "two"])
@pytest.mark.parametrize("shape", ["predicted shape", "true shape"])
def test_evaluation(shared, shape, tmp_path):
    """Every row of a comparison, its tuned filters, losses and strips. What it waits for are the hands, once
    for each predictor and batch (Stage 2: and sequence), and at the end the sums of losses."""
    stage2 = build_network(small_network(2))
    stage1 = stage2.spatial_only().eval() if shared else build_network(small_network(1))
    batch, sequence = random_batch(8, 1), np.repeat([0, 1], [5, 3])
    time = np.concatenate([np.arange(5), np.arange(3)]) / 30
    first = np.where(sequence == 0, 0, 5)
    batches = [batch[torch.arange(8)[places]] for places in (slice(0, 4), slice(4, 7), slice(7, 8))]
    target = batch.target
    of_clips = (target.pose, target.shape, target.joints, batch.focal, batch.princpt)
    labels = CropLabels(*(values[:, 0] for values in of_clips))
    constant = fit_constant_hand(stage1.hand, labels, batch.frames.size)
    hidden = np.where(sequence == 0, 0.6, 0.0)
    strips = StripKeeper(choose_strips(hidden, first, sequence.astype(str), 1), tmp_path)
    truth = TruthKeeper(stage1.hand, stage1.expansion)
    for network in {id(network): network for network in (stage1, stage2)}.values():
        put(network.eval())
    losses = {"stage1": LossOverFrames(stage1), "stage2": LossOverFrames(stage2)}
    clips = Clips(first, time, 7).of_stream
    watch = {name: loss.watch for name, loss in losses.items()}
    shaped = {"shaped": with_true_shape(stage1.hand)} if shape == "true shape" else {}
    stages, unwatched = build_predictors(stage1, stage2, contextlib.nullcontext, clips, watch, **shaped)
    columns = {
        "truth": truth,
        "sequence": sequence,
        "frame": np.arange(8),
        "time": time,
        "device": DEVICE,
    }

    with watched() as waited:
        held_out = predict_sequences(batches, {"raw": unwatched}, **columns)
        tuned, _ = tune_filters(((hands["raw"].joints, true) for _, true, hands in held_out), lambda x: x)
        assert waited == ["cpu"] * len(batches)
        waited.clear()
        rows = ["mean_pose", *stages]
        predictors = {"mean_pose": PerFrame(constant), **stages}
        found = predict_sequences(strips.watching(batches), predictors, **columns)
        filters = {name: ("stage1", smooth) for name, smooth in (tuned | default_filters()[0]).items()}
        board = score_sequences(found, [*rows, *filters], filters, sequence, 2, strips.watch)
        assert Counter(waited) == {"cpu": 2 * len(batches) + 2}
        waited.clear()
        totals = [loss.sums.totals(lambda x: [x]) for loss in losses.values()]
        assert waited == ["tolist"] * 2
    assert all(board.compute()[row]["all"]["n"] == 8 for row in (*rows, *filters)) and all(totals)
    assert (tmp_path / "strip_0.npz").is_file()


def test_what_a_gpu_refuses_is_refused():
    here, there, place = torch.zeros(4), put(torch.zeros(4)), torch.tensor([0, 1])
    with watched() as waited:
        for wrong in (
            lambda: here + there,
            lambda: here.__setitem__(put(place), there[:2]),
            lambda: here.__setitem__(place, there[:2]),
            lambda: there.__setitem__(place, here[:2]),
            lambda: here[put(place)],
            lambda: torch.where(there > 0, here, there),
        ):
            with pytest.raises(RuntimeError):
                wrong()
        assert waited == []
        (
            float(there[0]),
            there.sum().item(),
            there[there > 0],
            there.cpu(),
            bool(there.any()),
            there.new_tensor([1.0]),
        )
    assert waited == ["float", "item", "mask", "cpu", "bool", "values of the host"]
