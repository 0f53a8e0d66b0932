"""StreamingPredictor with a real network: what it says live is what the network says of whole clips."""

import dataclasses

import numpy as np
import pytest
import torch
from tests_support import hand_rows, small_network, write_table

from tempohand.data.clips import MAX_AGE_S, MAX_GAP_S
from tempohand.data.loader import ClipDataset, collate
from tempohand.data.table import FrameTable
from tempohand.data.view import View
from tempohand.geometry import mirror_points, mirror_pose
from tempohand.inference.predictor import HandEstimate, HandInput, StreamingPredictor
from tempohand.model.registry import build_network

VALUES = ("pose", "shape", "trans", "joints", "vertices", "joints2d")


@pytest.fixture(scope="module")
def network():
    """A small Stage 2 whose temporal encoder says something."""
    torch.manual_seed(0)
    network = build_network(small_network(2)).eval()
    for parameter in network.temporal.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A right and a left hand, 18 frames each: more than a clip reaches back."""
    sequences = [
        hand_rows(name, 18, seed, is_right=is_right)
        for seed, (name, is_right) in enumerate((("right", True), ("left", False)))
    ]
    return FrameTable(write_table(tmp_path_factory.mktemp("streaming"), {"test": sequences}), "test")


@pytest.fixture
def hands(table) -> list[HandInput]:
    """The first sequence, a right hand, as hand 0."""
    labels = table.labels(np.arange(10))
    return [
        HandInput(
            image=table.image(row),
            box=labels["box"][row],
            time=labels["time"][row].item(),
            focal=labels["focal"][row],
            princpt=labels["princpt"][row],
            is_right=bool(labels["is_right"][row]),
            frame=row,
        )
        for row in range(10)
    ]


def same(a: HandEstimate, b: HandEstimate) -> None:
    assert a.history == b.history and a.is_right == b.is_right
    for name in VALUES:
        np.testing.assert_allclose(
            getattr(a, name),
            getattr(b, name),
            rtol=1e-5,
            atol=1e-5 * np.abs(getattr(b, name)).max(),
            err_msg=name,
        )


def offline(network, table, row: int, start: int, times: np.ndarray) -> tuple[int, dict[str, np.ndarray]]:
    """The network on the loader's clip that ends at `row`, whose history begins at `start`, at the given
    times of the table's rows: how many frames are real, and what it says."""
    dataset = ClipDataset(table, View(64, 2.0), 7)
    sample = dataset.clip(row)
    batch, rows = collate([sample]), np.roll(sample.plan.rows, 1)  # the last frame comes first
    batch.frames.time = torch.from_numpy(times[rows])
    batch.frame_mask &= torch.from_numpy(rows >= start)[batch.index]
    with torch.no_grad():
        prediction = network(batch)
    values = {name: getattr(prediction, name)[0, 0] for name in VALUES[:-1]}
    if not batch.is_right[0]:
        values |= {name: mirror_points(values[name]) for name in ("trans", "joints", "vertices")} | {
            "pose": mirror_pose(values["pose"])
        }
    return int(batch.frame_mask.sum()), {name: value.numpy() for name, value in values.items()}


def test_every_frame_is_the_offline_window_across_gaps(network, table):
    """Two sequences (a right and a left hand) live, side by side; time stamps are late, frames are missed,
    one gap is too long."""
    labels, starts = table.labels(np.arange(len(table))), table.sequence_starts()
    rng = np.random.default_rng(0)
    times = np.concatenate([100 + np.cumsum(rng.choice([1, 1, 2, 1.3], 18)) / 30, 200 + np.arange(18) / 30])
    times[4:18] += MAX_GAP_S + 0.01
    times[32:] += 0.35  # not a gap, but what lies before it gets older than anything a clip has in it
    predictor, lengths = StreamingPredictor(network), []
    for row in np.argsort(np.concatenate([np.arange(18), np.arange(18) + 0.5]), kind="stable").tolist():
        estimate = predictor.push(
            table.image(row),
            labels["box"][row],
            times[row].item(),
            hand=int(starts[row]),
            is_right=bool(labels["is_right"][row]),
            focal=labels["focal"][row],
            princpt=labels["princpt"][row],
        )
        begins = int(starts[row]) + (4 if 4 <= row < 18 else 0)
        begins = next(r for r in range(begins, row + 1) if times[row] - times[r] <= MAX_AGE_S + 1e-6)
        length, expected = offline(network, table, row, begins, times)
        assert estimate.history == length
        for name, value in expected.items():
            np.testing.assert_allclose(
                getattr(estimate, name),
                value,
                rtol=1e-5,
                atol=1e-5 * np.abs(value).max(),
                err_msg=f"{name} of row {row}",
            )
        lengths.append(estimate.history)
    assert set(lengths) == {1, 2, 3, 4, 5, 6, 7}


def test_history_matters(network, hands):
    """Otherwise the other tests would show nothing."""
    with_history, alone = (
        StreamingPredictor(network).push_all(hands)[-1],
        StreamingPredictor(network).push_all(hands[-1:])[0],
    )
    assert np.abs(with_history.joints - alone.joints).max() > 1


def test_pushing_one_by_one_all_at_once_or_in_batches_is_the_same(network, hands):
    values = [
        {name: getattr(hand, name) for name in ("image", "box", "time", "focal", "princpt", "frame")}
        for hand in hands
    ]
    live = StreamingPredictor(network)
    pushed = [live.push(**value) for value in values]
    for batch_size in (3, 100):
        for a, b in zip(
            StreamingPredictor(network, batch_size=batch_size).push_all(hands), pushed, strict=True
        ):
            same(a, b)
    assert [estimate.frame for estimate in pushed] == list(range(10))


def test_reset_forgets_one_hand_or_all(network, hands):
    other = [dataclasses.replace(hand, hand=1) for hand in hands]
    predictor = StreamingPredictor(network)
    predictor.push_all([*hands[:4], *other[:4]])
    predictor.reset(1)
    a, b = predictor.push_all([hands[4], other[4]])
    assert (a.history, b.history) == (4, 1)
    same(b, StreamingPredictor(network).push_all(other[4:5])[0])
    predictor.reset()
    predictor.reset(7)  # a hand that was never seen
    earlier = [dataclasses.replace(hand, time=hand.time - 50) for hand in (hands[0], other[0])]
    assert [estimate.history for estimate in predictor.push_all(earlier)] == [1, 1]


def after(network, hands, changed: HandInput) -> HandEstimate:
    return StreamingPredictor(network).push_all([*hands[:5], changed])[-1]


def test_what_is_another_hand_starts_anew(network, hands):
    now = hands[5]
    far = dataclasses.replace(
        now, box=np.asarray(now.box) + np.tile([1.1 * (now.box[2:] - now.box[:2]).max(), 0], 2)
    )
    other_side = dataclasses.replace(now, is_right=False)
    late = dataclasses.replace(now, time=hands[4].time + 0.5)
    for changed in (far, other_side, late, dataclasses.replace(now, starts=True)):
        same(after(network, hands, changed), StreamingPredictor(network).push_all([changed])[0])
    assert after(network, hands, now).history == 5
    # Back on the first side: no frame of before may come back.
    back = StreamingPredictor(network).push_all(
        [*hands[:5], dataclasses.replace(hands[5], is_right=False), hands[6]]
    )
    assert [estimate.history for estimate in back] == [1, 2, 3, 4, 4, 1, 1]


def test_the_same_time_stamp_replaces_the_frame(network, hands):
    again = dataclasses.replace(hands[8], time=hands[7].time)
    replaced = StreamingPredictor(network).push_all([*hands[:8], again, hands[9]])
    plain = StreamingPredictor(network).push_all([*hands[:7], again, hands[9]])
    same(replaced[-2], plain[-2])
    same(replaced[-1], plain[-1])


def test_a_picture_of_another_size_goes_on_with_its_own_camera(network, hands):
    """A frame of twice the size, box and camera with it: the same rays, the same history."""
    big = dataclasses.replace(
        hands[5],
        image=hands[5].image.repeat(2, 0).repeat(2, 1),
        box=np.asarray(hands[5].box) * 2 + 0.5,
        focal=hands[5].focal * 2,
        princpt=hands[5].princpt * 2 + 0.5,
    )
    a, b = after(network, hands, big), after(network, hands, hands[5])
    assert a.history == b.history == 5 and a.image_size == (192, 192)
    np.testing.assert_allclose(a.joints, b.joints, atol=30)  # another picture by interpolation
    np.testing.assert_allclose(
        a.joints2d, a.joints[:, :2] / a.joints[:, 2:] * big.focal + big.princpt, atol=1e-2
    )


def test_a_camera_may_be_left_out(network, hands):
    estimate = StreamingPredictor(network).push(hands[0].image, list(map(float, hands[0].box)), 0)
    np.testing.assert_allclose(estimate.focal, np.hypot(96, 96), rtol=1e-6)
    np.testing.assert_allclose(estimate.princpt, [47.5, 47.5])
    assert StreamingPredictor(network).push(hands[0].image, hands[0].box, 0, focal=120).focal.tolist() == [
        120,
        120,
    ]


BAD = {
    "time runs back, from 0.0333333 s to 0.01 s": {"time": 0.01},
    "its time is nan s": {"time": float("nan")},
    "not four finite numbers": {"box": (1, 2, float("nan"), 4)},
    "the box is 4 numbers": {"box": (1, 2, 3)},
    "has no area": {"box": (40, 40, 40, 60)},
    "lies outside the picture of 96 x 96 px": {"box": (100, 10, 120, 30)},
    "its picture is float32": {"image": np.zeros((96, 96, 3), np.float32)},
    r"its picture is uint8 \[96, 96\]": {"image": np.zeros((96, 96), np.uint8)},
    r"its picture is uint8 \[0, 96, 3\]": {"image": np.zeros((0, 96, 3), np.uint8)},
    "the focal length is 2 numbers": {"focal": (1.0, 2.0, 3.0)},
    "are those of no camera": {"focal": -5.0},
    "px are those of no camera": {"princpt": (0.0, float("inf"))},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_line_and_changes_nothing(network, hands, message):
    predictor = StreamingPredictor(network, batch_size=1)
    predictor.push_all(hands[:2])
    values = {
        name: getattr(hands[2], name) for name in ("image", "box", "time", "focal", "princpt", "frame")
    } | BAD[message]
    with pytest.raises(ValueError, match=message) as caught:
        predictor.push(**values)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("hand 0 in frame 2")
    with pytest.raises(ValueError, match="hand 0 in frame 6"):
        predictor.push_all(
            [hands[2], HandInput(**values | {"frame": 6})]
        )  # the good one before it is not taken either
    same(predictor.push_all(hands[2:3])[0], StreamingPredictor(network).push_all(hands[:3])[-1])


def test_pictures_with_any_strides_do(network, hands):
    bgr = np.ascontiguousarray(hands[0].image[..., ::-1])
    view = dataclasses.replace(hands[0], image=bgr[..., ::-1])
    same(StreamingPredictor(network).push_all([view])[0], StreamingPredictor(network).push_all(hands[:1])[0])


def test_settings_without_meaning_are_refused(network):
    for max_gap in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="`max_gap` is a number of seconds"):
            StreamingPredictor(network, max_gap=max_gap)


KINDS = {
    "`time`, in seconds, is a number, not None": {"time": None},
    "`time`, in seconds, is a number, not '1'": {"time": "1"},
    "`time`, in seconds, is a number, not True": {"time": True},
    "`is_right` is True or False, not None; where nobody knows the side": {"is_right": None},
    "`is_right` is True or False, not 'left'": {"is_right": "left"},
    "`hand`, an id, is a whole number, not 'first'": {"hand": "first"},
    "`frame` is a whole number, not 1.5": {"frame": 1.5},
}


@pytest.mark.parametrize("message", KINDS)
def test_values_of_another_kind_are_a_type_error_in_one_line(network, hands, message):
    predictor = StreamingPredictor(network)
    predictor.push_all(hands[:2])
    values = {
        name: getattr(hands[2], name) for name in ("image", "box", "time", "focal", "princpt", "frame")
    } | KINDS[message]
    with pytest.raises(TypeError, match=message) as caught:
        predictor.push(**values)
    assert "\n" not in str(caught.value)
    same(predictor.push_all(hands[2:3])[0], StreamingPredictor(network).push_all(hands[:3])[-1])


def test_a_box_or_picture_that_is_none_is_named(network, hands):
    for name, message in (
        ("box", "the box is 4 numbers in pixels, not None"),
        ("image", "its picture is NoneType, not RGB as a uint8 array"),
    ):
        with pytest.raises(ValueError, match=f"hand 0 in frame 0: {message}"):
            StreamingPredictor(network).push_all([dataclasses.replace(hands[0], **{name: None})])


@pytest.mark.parametrize("scalar", [np.float32, torch.tensor, lambda value: np.array([value])])
def test_numbers_and_pictures_of_numpy_and_torch_do(network, hands, scalar):
    plain = dataclasses.replace(
        hands[0], time=0.5, focal=150.0, princpt=[47.0, 49.0], box=[20.0, 25.0, 60.0, 70.0]
    )
    expected = StreamingPredictor(network).push_all([plain])[0]
    given = dataclasses.replace(
        plain,
        time=scalar(0.5),
        focal=scalar(150.0),
        princpt=torch.tensor(plain.princpt),
        box=tuple(map(scalar, plain.box)),
        is_right=np.bool_(True),
        hand=np.int64(0),
        frame=torch.tensor(0),
        image=torch.from_numpy(plain.image.copy()),
    )
    estimate = StreamingPredictor(network).push_all([given])[0]
    same(estimate, expected)
    assert (type(estimate.time), type(estimate.is_right), type(estimate.hand), type(estimate.frame)) == (
        float,
        bool,
        int,
        int,
    )
    moved = dataclasses.replace(plain, box=torch.tensor(plain.box, requires_grad=True))
    same(StreamingPredictor(network).push_all([moved])[0], expected)
