"""Training, validation, evaluation and prediction of every network on a device that is not the CPU
(fake_gpu.py): nothing stays behind on the CPU, and what is waited for is what docs/architecture.md says. What
comes back is copied (fake_gpu.py's "cpu"), all of it at once."""

import contextlib
import importlib
import pkgutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from fake_gpu import DEVICE, put, walk_back, watched
from fake_gpu_cases import FINDER, HEATMAP, NETWORKS, make_case
from tests_support import random_batch, small_network
from torch.nn.modules.module import register_module_forward_pre_hook

from tempohand.data.clips import Clips
from tempohand.evaluation.baselines import CropLabels, fit_constant_hand
from tempohand.evaluation.evaluator import PerFrame, TruthKeeper, predict_sequences, score_sequences
from tempohand.evaluation.protocols.true_shape import with_true_shape
from tempohand.evaluation.report.strips import StripKeeper, choose_strips
from tempohand.evaluation.scores import LossOverFrames
from tempohand.evaluation.stages import build_predictors
from tempohand.evaluation.tuning import default_filters, tune_filters
from tempohand.evaluation.validation import scores_of
from tempohand.hand.cpu_autograd import PoseHand, Rotations
from tempohand.hand.layer import HandLayer
from tempohand.inference.finder import HandFinder
from tempohand.inference.inputs import HandInput
from tempohand.inference.palm_finder import PalmFinder
from tempohand.inference.predictor import StreamingPredictor
from tempohand.inference.source import SourceFrame
from tempohand.model.registry import build_network
from tempohand.training import step_checks
from tempohand.training.launch import new_accelerator
from tempohand.training.learner import Learner
from tempohand.training.objective import weights_at
from tempohand.training.processes import average_statistics
from tempohand.training.step_checks import StepChecks
from tempohand.training.stop import StopRequest

# What a network itself asks of a batch: which crops the frozen one inside turns upright.
ASKED = {"Hand3D with joints": 2 * ["nonzero"]}


RAN: set[type] = set()  # classes of modules that were called on the GPU


@pytest.fixture(autouse=True)
def waited():
    """Every test has the GPU; what it has been waited for so far."""

    def note(module, inputs):
        if any(tensor.device == DEVICE for tensor in (*module.parameters(), *module.buffers())):
            RAN.update(kind for kind in type(module).__mro__ if kind.__module__.startswith("tempohand"))

    noting = register_module_forward_pre_hook(note)
    with watched() as waits:
        yield waits
    noting.remove()


@pytest.fixture(params=NETWORKS)
def case(request):
    return make_case(request.param)


STEPS = [(kind, "bf16") for kind in NETWORKS] + [("Stage 1", "no"), ("Stage 1", "fp16")]
STEPS += [
    pytest.param(kind, precision, marks=pytest.mark.slow)
    for kind in NETWORKS
    for precision in ("no", "fp16")
    if kind != "Stage 1"
]


@pytest.mark.parametrize("kind, precision", STEPS)
def test_a_step_waits_for_the_loss_and_the_gradients_norm(kind, precision, waited, tmp_path):
    """From the batch to the average of the weights, with Accelerate's own choice of device and precision."""
    network, batch, settings = make_case(kind)
    accelerator = new_accelerator(precision)
    assert accelerator.device == DEVICE and (accelerator.scaler is not None) == (precision == "fp16")
    settings["out"] = str(tmp_path)
    learner = Learner(network, settings["optim"] | {"ema": 0.9}, accelerator)
    checks = StepChecks(accelerator, network, settings, config={}, describe_row=str, command="")
    network.train()
    waited.clear()
    checks.begin_step(0, logged=True)
    with accelerator.autocast():
        prediction = learner.model(batch)
        terms = network.criterion(prediction, batch)
    assert waited == ASKED.get(kind, [])
    waited.clear()
    loss = checks.loss(batch, prediction, terms)
    assert waited == ["cpu"]
    accelerator.backward(loss)
    checks.clip_gradient(1.0)
    assert waited == ["cpu", "item"]
    learner.optimizer.step()
    learner.end_step(1)
    average_statistics(network, lambda x: x, 2)
    assert waited == ["cpu", "item"]
    learned = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learned == {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert all(parameter.grad.device == DEVICE for parameter in checks.trained)
    assert len(learner.optimizer.state) == len(learned)
    checks.log_values()


@pytest.mark.parametrize("kind", ["Stage 1", "UTNet"])
def test_what_goes_through_a_collective_lies_on_the_gpu(kind, waited, monkeypatch, tmp_path):
    """NCCL takes no other tensors. All of a step's: loss sums, moving statistics, what signals told."""
    network, batch, settings = make_case(kind)
    accelerator, sent = new_accelerator("bf16"), []

    def collective(tensor):
        sent.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(step_checks, "sum_over_processes", collective)
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    checks = StepChecks(
        accelerator, network, settings | {"out": str(tmp_path)}, config={}, describe_row=str, command=""
    )
    network.train()
    checks.begin_step(0, logged=False)
    with accelerator.autocast():
        prediction = network(batch)
        terms = network.criterion(prediction, batch)
    checks.loss(batch, prediction, terms)
    assert len(sent) == 1 and sent[0].dtype == torch.float32
    average_statistics(network, collective, 2)
    with StopRequest(accelerator.device) as stop:
        stop.agreed(collective)
    assert len(sent) > 1 and all(tensor.device == DEVICE for tensor in sent)


def test_compiled_kernels_see_no_tensor_of_the_gpu(monkeypatch):
    """numba's are the CPU's: on the GPU the hand is posed by tensor operations, and there is a way back."""
    for function in (PoseHand, Rotations):
        monkeypatch.setattr(function, "apply", lambda *_: pytest.fail("a compiled kernel was called"))
    layer, pose = put(HandLayer()), put(torch.randn(2, 48, requires_grad=True))
    joints, vertices = layer(pose, put(torch.zeros(2, 10)))
    (joints.sum() + vertices.sum() + layer.joints(pose, put(torch.zeros(2, 10))).sum()).backward()
    assert pose.grad.shape == (2, 48) and joints.device == vertices.device == pose.grad.device == DEVICE


def test_validation(case, waited):
    """It waits once for its sums; of every batch it asks whether predictions are finite, takes their paths
    (PoseNet), or finds peaks (finder)."""
    network, batch, settings = case
    network.eval()
    batch = replace(batch, previous=None)
    validation = scores_of(network.prediction)(2.0, np.zeros(4, int), np.arange(4) / 30)
    with torch.no_grad():
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
def test_live_prediction_waits_once_a_pass(name, waited):
    network, image = build_network(STAGES[name]), np.zeros((48, 80, 3), np.uint8)
    predictor = StreamingPredictor(network, device=DEVICE, batch_size=3)

    def hands(frame):
        boxes = [(10, 8, 40, 38), (30, 8, 60, 38)]
        common = {"image": image, "time": frame / 30}
        return [HandInput(**common, box=box, hand=hand, is_right=hand == 0) for hand, box in enumerate(boxes)]

    waited.clear()
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
    )  # what the GPU without values says of everything


@pytest.mark.parametrize("tiles", [1, 3])
def test_the_finder_waits_once_a_picture(tiles, waited):
    finder = HandFinder(build_network(FINDER), device=DEVICE, tiles=tiles, max_hands=4, threshold=0.1)
    waited.clear()
    finder.detect(SourceFrame(0, 0.0, np.zeros((48, 80, 3), np.uint8), ""))
    assert waited == ["cpu"]


def test_the_palm_finder_waits_once_a_pass_of_either_network(waited):
    """Of a hand that is known, since palms in a picture without values have no size."""
    finder, image = PalmFinder(device=DEVICE, max_hands=2), np.zeros((48, 80, 3), np.uint8)
    waited.clear()
    finder.palms.find(put(torch.zeros(1, 3, 192, 192, dtype=torch.uint8)), 0.5)
    finder.hands(image, known=torch.rand(1, 21, 2) * 40, new=False)
    assert set(waited) == {"cpu"}


@pytest.mark.parametrize("shared", [True, False], ids=["one spatial network", "two"])
@pytest.mark.parametrize("shape", ["predicted shape", "true shape"])
def test_evaluation(shared, shape, waited, tmp_path):
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

    waited.clear()
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


def test_what_a_gpu_refuses_is_refused(waited):
    here, there, place = torch.zeros(4), put(torch.zeros(4)), torch.tensor([0, 1])
    waited.clear()
    for wrong in (
        lambda: here + there,
        lambda: here.__setitem__(put(place), there[:2]),
        lambda: here.__setitem__(place, there[:2]),
        lambda: there.__setitem__(place, here[:2]),
        lambda: here[put(place)],
        lambda: torch.where(there > 0, here, there),
        lambda: there.numpy(),
        lambda: np.asarray(there),
        lambda: torch.nn.Linear(4, 4)(there),
    ):
        with pytest.raises((RuntimeError, TypeError)):
            wrong()
    assert waited == []
    (
        float(there[0]),
        there.sum().item(),
        there[there > 0],
        there.cpu(),
        bool(there.any()),
        there.new_tensor([1.0]),
        torch.zeros(2, device="cuda").to("cpu"),
    )
    assert waited == ["float", "item", "mask", "cpu", "bool", "values of the host", "cpu"]


def test_it_goes_back_as_torch_does():
    """Where gradients come from several sides, in other types and shapes."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))

    def loss(x):
        y = network(x) + network[0].bias.sum()
        return (y.double() * x[:, :1] + torch.stack([y, y], dim=0)[1]).mean()

    loss(torch.ones(5, 3)).backward()
    wanted = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    walk_back(loss(torch.ones(5, 3)), mode=contextlib.nullcontext())
    for parameter, value in zip(network.parameters(), wanted):
        torch.testing.assert_close(parameter.grad, value)


def test_the_gpu_benchmark_runs(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "script")
    from benchmarks import gpu

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA H100 80GB HBM3")
    assert gpu.device_rate() == 989
    found = gpu.measure("tiny", 24, 1, "bf16")
    assert found.pictures == 24 and found.operations > 1e9 and found.seconds > 0


# Class -> why it is not called on a GPU.
ELSEWHERE = {
    "Chain": "tables of the hand layer",
    "Skin": "tables of the hand layer",
    "CropsToFeatures": "recorded for ONNX, on the CPU",
    "FeaturesToHand": "recorded for ONNX, on the CPU",
    "Landmarks": "recorded for ONNX, on the CPU",
    "LandmarkBackbone": "is asked for features, not called",
    "PalmBackbone": "is asked for features, not called",
    "OnnxPoseNet": "runs by ONNX Runtime, on the CPU",
    "OnnxPalms": "runs by ONNX Runtime, on the CPU",
    "OnnxLandmarks": "runs by ONNX Runtime, on the CPU",
    "WeightAverage": "is updated, not called",
}


def test_the_share_of_modules_that_ran(request):
    """Of those that src/ defines; python -m pytest -s tests/test_fake_gpu.py prints it."""
    here = [item for item in request.session.items if item.path == request.path]
    if len({item.name for item in here}) < 3 * len(NETWORKS):
        pytest.skip("not all of this file's tests were chosen")
    import tempohand

    for module in pkgutil.walk_packages(tempohand.__path__, "tempohand."):
        if module.name.split(".")[1] in ("model", "hand", "training", "inference"):
            importlib.import_module(module.name)
    known, waiting = set(), [torch.nn.Module]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("tempohand."):
            known.add(kind.__name__)
    ran = {kind.__name__ for kind in RAN} & known
    print(f"\nfake GPU: {len(ran)} of {len(known)} module classes of src/ ran; not: {sorted(known - ran)}")
    assert known - ran == ELSEWHERE.keys()
