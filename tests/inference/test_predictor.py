import dataclasses

import numpy as np
import pytest
import torch

from tempohand.batch import ClipBatch
from tempohand.data.loader import ClipDataset, evaluation_batches
from tempohand.data.table import FrameTable
from tempohand.data.view import View
from tempohand.geometry import denormalise_pixels, mirror_points, mirror_pose, project
from tempohand.hand.layer import HandLayer
from tempohand.inference.predictor import HandEstimate, HandInput, StreamingPredictor
from tempohand.skeleton import MANO21_TO_OP, MANO_PARENTS

VALUES = ("pose", "shape", "trans", "joints", "vertices", "joints2d")


def table_hands(table: FrameTable) -> list[HandInput]:
    """Every row of a table as a hand of a long input, a hand per sequence."""
    starts = table.sequence_starts()
    labels = table.labels(np.arange(len(table)))
    return [
        HandInput(
            image=table.image(row),
            box=labels["box"][row],
            time=labels["time"][row].item(),
            hand=int(starts[row]),
            is_right=bool(labels["is_right"][row]),
            focal=labels["focal"][row],
            princpt=labels["princpt"][row],
            frame=row,
        )
        for row in range(len(table))
    ]


def same(a: HandEstimate, b: HandEstimate, atol: float = 1e-4) -> None:
    assert (a.frame, a.time, a.hand, a.is_right, a.history, a.image_size) == (
        b.frame,
        b.time,
        b.hand,
        b.is_right,
        b.history,
        b.image_size,
    )
    for name in VALUES:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=atol, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("num_frame", [1, 7])
def test_every_estimate_is_the_network_on_the_evaluation_clip(table_root, fake_network, num_frame):
    """The oracle is the loader of training and evaluation: same crops, same windows, same fill-up. One
    sequence is a left hand."""
    network, table = fake_network(num_frame), FrameTable(table_root, "test")
    hands = table_hands(table)
    estimates = StreamingPredictor(network, batch_size=4).push_all(hands)
    assert network.encoded == len(hands)  # one backbone pass per frame
    clips = evaluation_batches(
        ClipDataset(table, View(64, 2.0), num_frame), np.arange(len(table)), batch_size=1
    )
    for row, (hand, estimate, clip) in enumerate(zip(hands, estimates, clips, strict=True)):
        prediction = network(clip)
        values = {
            name: getattr(prediction, name)[0, 0] for name in ("pose", "shape", "trans", "joints", "vertices")
        }
        if not hand.is_right:
            values |= {name: mirror_points(values[name]) for name in ("trans", "joints", "vertices")} | {
                "pose": mirror_pose(values["pose"])
            }
        for name, value in values.items():
            np.testing.assert_allclose(
                getattr(estimate, name), value, atol=2e-4, rtol=1e-6, err_msg=f"{name} of row {row}"
            )
        focal, princpt = (torch.from_numpy(np.array(value)) for value in (hand.focal, hand.princpt))
        np.testing.assert_allclose(
            estimate.joints2d, project(torch.from_numpy(estimate.joints), focal, princpt), atol=2e-3
        )
        assert estimate.history == int(clip.frame_mask.sum())
    assert {hand.is_right for hand in hands} == {True, False}


def test_calls_and_batches_may_be_cut_anywhere(table_root, fake_network):
    hands = table_hands(FrameTable(table_root, "test"))
    whole = StreamingPredictor(fake_network(), batch_size=100).push_all(hands)
    for batch_size, cuts in ((1, ()), (3, (5,)), (7, (1, 2, 12))):
        predictor = StreamingPredictor(fake_network(), batch_size=batch_size)
        parts = np.split(np.arange(len(hands)), cuts)
        pieces = [estimate for part in parts for estimate in predictor.push_all([hands[i] for i in part])]
        for a, b in zip(whole, pieces, strict=True):
            same(a, b)
    assert StreamingPredictor(fake_network()).push_all([]) == []


def test_hands_do_not_mix(table_root, fake_network):
    """Two hands frame by frame give what each gives alone."""
    hands = table_hands(FrameTable(table_root, "test"))
    first, second = (
        [hand for hand in hands if hand.hand == i] for i in sorted({hand.hand for hand in hands})
    )
    woven = [hand for pair in zip(first, second) for hand in pair]
    together = StreamingPredictor(fake_network(), batch_size=5).push_all(woven)
    for place, alone in enumerate((first, second)):
        for a, b in zip(together[place::2], StreamingPredictor(fake_network()).push_all(alone), strict=True):
            same(a, b)


def test_a_start_forgets_and_so_does_reset(table_root, fake_network):
    hands = table_hands(FrameTable(table_root, "test"))[:6]
    fresh = StreamingPredictor(fake_network()).push_all(
        [dataclasses.replace(hand, starts=i == 3) for i, hand in enumerate(hands)]
    )
    assert [estimate.history for estimate in fresh] == [1, 2, 3, 1, 2, 3]
    predictor = StreamingPredictor(fake_network())
    predictor.push_all(hands[:3])
    predictor.reset()
    for a, b in zip(fresh[3:], predictor.push_all(hands[3:]), strict=True):
        same(a, b)


def test_a_shifted_picture_gives_the_same_hand(table_root, fake_network):
    hands = table_hands(FrameTable(table_root, "test"))[:9]
    shift = np.array([17, 8])
    moved = []
    for hand in hands:
        height, width = hand.image.shape[:2]
        canvas = np.pad(
            hand.image, ((8, 142 - height), (17, 143 - width), (0, 0)), mode="edge"
        )  # as crops see it beyond a picture
        moved.append(
            dataclasses.replace(
                hand, image=canvas, box=hand.box + np.tile(shift, 2), princpt=hand.princpt + shift
            )
        )
    for a, b in zip(
        StreamingPredictor(fake_network()).push_all(hands),
        StreamingPredictor(fake_network()).push_all(moved),
        strict=True,
    ):
        for name in VALUES[:-1]:
            # Interpolation weights are quantised at places that the shift moves in float32.
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=0.05, err_msg=name)
        np.testing.assert_allclose(a.joints2d + shift, b.joints2d, atol=0.05)


def test_the_batch_of_features_is_complete(table_root, fake_network):
    seen: list[ClipBatch] = []

    class Spy(fake_network):
        def decode(self, tokens, batch):
            seen.append(batch)
            return super().decode(tokens, batch)

    StreamingPredictor(Spy(), batch_size=50).push_all(table_hands(FrameTable(table_root, "test"))[:3])
    (batch,) = seen
    assert batch.index.shape == (3, 7) and batch.edge == 64
    assert len(batch.frames.features) == len(batch.frames) == 1 + 2 + 3 and batch.frames.image is None
    assert batch.frame_mask.sum(1).tolist() == [1, 2, 3] and batch.frame_mask[:, -1].all()
    np.testing.assert_allclose(batch.time[2, -3:], [-2 / 30, -1 / 30, 0], atol=1e-7)
    assert (batch.time[2, :4] == batch.time[2, 4]).all() and (batch.focal[2, :4] == batch.focal[2, 4]).all()


def test_times_far_from_zero_keep_their_differences(table_root, fake_network):
    hands = table_hands(FrameTable(table_root, "test"))[:9]
    late = [dataclasses.replace(hand, time=hand.time + 2.0**20) for hand in hands]  # twelve days on
    for a, b in zip(
        StreamingPredictor(fake_network()).push_all(hands),
        StreamingPredictor(fake_network()).push_all(late),
        strict=True,
    ):
        np.testing.assert_allclose(a.joints, b.joints, atol=1e-3)


def test_joints2d_of_a_left_hand_are_where_the_crop_shows_them(table_root, fake_network):
    """Against the crop's homography rather than its camera."""
    table, view, network = FrameTable(table_root, "test"), View(64, 2.0), fake_network(1)
    hand = next(hand for hand in table_hands(table) if not hand.is_right)
    (estimate,) = StreamingPredictor(network).push_all([hand])
    focal, princpt, box = (
        torch.from_numpy(np.array(value))[None] for value in (hand.focal, hand.princpt, hand.box)
    )
    placement = view.place(
        view.draw(np.random.default_rng(0), 1), hand.image.shape[1], focal, princpt, box, False
    )
    uv = torch.from_numpy(np.c_[estimate.joints2d, np.ones(21)]) @ placement.homography[0].T
    (clip,) = evaluation_batches(ClipDataset(table, view, 1), np.array([hand.frame]), batch_size=1)
    expected = denormalise_pixels(network(clip).joints2d[0, 0], (64, 64))
    np.testing.assert_allclose(uv[:, :2] / uv[:, 2:], expected, atol=1e-3)


def test_a_diverged_network_is_named(table_root, fake_network):
    with pytest.raises(ValueError, match="hand 0 in frame 0 is not finite"):
        StreamingPredictor(fake_network(poison=True)).push_all(
            table_hands(FrameTable(table_root, "test"))[:1]
        )
    with pytest.raises(ValueError, match="`batch_size` is at least 1"):
        StreamingPredictor(fake_network(), batch_size=0)


def test_confidence_is_the_last_frames_certainty_calibrated(table_root, fake_network):
    """Whatever the batches and the histories; unknown without a calibration."""
    network, table = fake_network(7), FrameTable(table_root, "test")
    hands = table_hands(table)[:6]
    assert all(np.isnan(one.confidence).all() for one in StreamingPredictor(network).push_all(hands))
    network.config = {"confidence": {"certainty": [0.4, 0.6], "share": [0.1, 0.9]}}
    crops = []
    encode = network.encode
    network.encode = lambda frames: crops.append(encode(frames)) or crops[-1]
    said = StreamingPredictor(network, batch_size=2).push_all(hands)
    certainty = torch.cat(crops)[:, :21].numpy() + 0.5
    expected = np.clip(0.1 + (certainty - 0.4) / 0.2 * 0.8, 0.1, 0.9)
    np.testing.assert_allclose(np.stack([one.confidence for one in said]), expected, atol=1e-6)


def test_rotations_are_those_of_the_joints(table_root, fake_network):
    """Bones of the hand at rest, turned by their joints' rotations, are the predicted bones; on both
    sides."""
    table = FrameTable(table_root, "test")
    sides = set()
    for one in StreamingPredictor(fake_network(1)).push_all(table_hands(table)):
        assert one.rotations.shape == (16, 3, 3)
        products = one.rotations @ one.rotations.transpose(0, 2, 1)
        np.testing.assert_allclose(products, np.tile(np.eye(3), (16, 1, 1)), atol=1e-5)
        layer = HandLayer(side="right" if one.is_right else "left")
        pose, shape = torch.from_numpy(one.pose)[None], torch.from_numpy(one.shape)[None]
        rest = layer.joints(torch.zeros_like(pose), shape)[0].numpy()
        rest, now = (joints[np.argsort(MANO21_TO_OP)[:16]] for joints in (rest, one.joints))
        for joint in range(1, 16):
            parent = MANO_PARENTS[joint]
            turned = one.rotations[parent] @ (rest[joint] - rest[parent])
            np.testing.assert_allclose(now[joint] - now[parent], turned, atol=2e-2)  # mm
        sides.add(one.is_right)
    assert sides == {True, False}
