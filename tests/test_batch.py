"""The batch: what is known of a target's box, and copies of parts of it."""

from dataclasses import replace

import pytest
import torch
from tests_support import pictures_of_clips, random_batch, small_finder, small_network

from tempohand.batch import ClipBatch, frames_in_order
from tempohand.model.registry import build_network
from tempohand.training.debug.not_finite import named_tensors


def test_a_box_needs_every_joint():
    target = random_batch(3, 1, 64).target
    target.joints2d_mask = torch.ones(3, 1, 21, dtype=torch.bool)
    target.joints2d_mask[1, 0, 4] = False
    target.joints2d_mask[2] = False
    target.joints2d[2] = torch.nan
    box, known = target.box()
    assert known[:, 0].tolist() == [True, False, False]
    assert (box[1:] == 0).all()
    assert torch.equal(box[0, 0, :2], target.joints2d[0, 0].amin(dim=0))
    assert torch.equal(box[0, 0, 2:], target.joints2d[0, 0].amax(dim=0))


def test_frames_can_lack_what_a_camera_lacks():
    frames = random_batch(2, 1, 64).frames
    frames = replace(frames, depth=torch.full((2, 1, 64, 64), 400.0), mask=torch.ones(2, 1, 64, 64).bool())
    assert frames.without(["depth"]).depth is None and frames.without(["depth"]).mask is frames.mask
    assert torch.equal(frames.without(["depth"]).image, frames.image)
    blind = frames.without(["image"])
    assert (blind.image == 128).all() and blind.image.shape == frames.image.shape
    assert torch.equal(blind.depth, frames.depth) and torch.equal(blind.focal, frames.focal)
    assert frames.image.unique().numel() > 1


def test_some_of_the_clips_are_the_same_clips():
    batch = random_batch(4, 3, 64)
    some = batch[torch.tensor([2, 0])]
    assert torch.equal(pictures_of_clips(some), pictures_of_clips(batch)[[2, 0]])
    assert torch.equal(some.target.joints, batch.target.joints[[2, 0]])
    last = batch.last_frame()
    assert torch.equal(last.frames.image, pictures_of_clips(batch)[:, -1]) and last.num_frame == 1


def shared_batch(clips: int = 6, num_frame: int = 3, frames: int = 12, seed: int = 0) -> ClipBatch:
    """Clips that share frames: each ends one frame after the one before."""
    generator = torch.Generator().manual_seed(seed)
    batch = random_batch(clips, num_frame)
    places = torch.randint(0, frames - clips, (clips, num_frame - 1), generator=generator)
    last = torch.arange(frames - clips, frames)[:, None]
    order, index = frames_in_order(torch.cat([places, last], dim=1))
    pool = random_batch(frames, 1, seed=seed).frames
    pool.time = torch.rand(frames, generator=generator, dtype=torch.float64)
    before = torch.arange(clips) - 1
    return replace(batch, frames=pool[order], index=index, previous=before, row=100 + torch.arange(clips))


def values_of_clips(batch: ClipBatch) -> dict[str, torch.Tensor]:
    """Everything about each clip, as if no frame were shared."""
    own = {name: value for name, value in named_tensors(batch) if "frames." not in name}
    del own["index"], own["previous"]
    return (
        own
        | {name: getattr(batch, name) for name in ("focal", "princpt", "time")}
        | {"image": pictures_of_clips(batch)}
    )


@pytest.mark.parametrize("seed", range(5))
def test_frames_in_order_are_the_last_ones_and_then_those_of_histories(seed):
    generator = torch.Generator().manual_seed(seed)
    last = torch.randperm(30, generator=generator)[:8]
    clips = torch.cat([torch.randint(0, 30, (8, 6), generator=generator), last[:, None]], dim=1)
    order, index = frames_in_order(clips)
    assert torch.equal(order[index], clips) and index[:, -1].tolist() == list(range(8))
    assert len(order.unique()) == len(order) == len(clips.unique())
    assert (order[8:].diff() > 0).all() and not torch.isin(order[8:], last).any()


@pytest.mark.parametrize(
    "some",
    [torch.tensor([2, 0]), slice(1, 4), [5], torch.arange(6) % 2 == 0, torch.tensor([3, 3, 1]), slice(None)],
    ids=str,
)
def test_some_of_clips_that_share_frames_are_the_same_clips(some):
    batch = shared_batch()
    part, chosen = batch[some], torch.arange(6)[some]
    assert part.index[:, -1].tolist() == list(range(len(chosen))) == list(range(len(part)))
    assert set(part.index.unique().tolist()) == set(range(len(part.frames)))
    for name, value in values_of_clips(batch).items():
        assert torch.equal(values_of_clips(part)[name], value[chosen]), name
    for clip, before in zip(chosen.tolist(), part.previous.tolist()):
        there = int(batch.previous[clip])
        assert chosen[before] == there if before >= 0 else there not in chosen.tolist()


def test_last_frames_are_the_first_ones():
    batch = shared_batch()
    last = batch.last_frame()
    assert len(last.frames) == len(last) == 6 and last.previous is batch.previous
    for name, value in values_of_clips(last).items():
        wanted = values_of_clips(batch)[name]
        wanted = wanted[:, -1:] if name in ("image", "focal", "princpt", "time", "frame_mask") else wanted
        assert torch.equal(value, wanted), name


def test_a_batch_elsewhere_is_the_same_batch():
    batch = shared_batch()
    there = batch.to("meta")
    assert {value.device.type for _, value in named_tensors(there)} == {
        "meta"
    } and there.edge == batch.edge == 64
    assert [value.dtype for _, value in named_tensors(there)] == [
        value.dtype for _, value in named_tensors(batch)
    ]


def test_times_keep_their_differences_far_from_zero():
    batch = shared_batch()
    before = batch.time
    batch.frames.time = batch.frames.time + 1e6
    torch.testing.assert_close(batch.time, before, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "settings", [small_network(1), small_network(2), small_finder()], ids=["stage 1", "stage 2", "finder"]
)
def test_the_terms_of_a_prediction_go_with_it(settings):
    """The loss of some clips is that of the prediction of these clips, and a copy elsewhere has nothing left
    behind."""
    torch.manual_seed(0)
    network, batch = build_network(settings).eval(), random_batch(4, settings["num_frame"], settings["size"])
    with torch.no_grad():
        prediction = network(batch)
    some = torch.tensor([2, 0])
    assert prediction.terms and prediction[some].terms.keys() == prediction.terms.keys()
    for name, values in prediction.terms.items():
        assert torch.equal(prediction[some].terms[name], values[some])
    assert {values.dtype for values in prediction.to(torch.float64).terms.values()} == {torch.float64}
    assert {values.device.type for values in prediction.to("meta").terms.values()} == {"meta"}
    whole, part = network.criterion(prediction, batch), network.criterion(prediction[some], batch[some])
    for name, term in part.items():
        assert torch.equal(term.mask, whole[name].mask[some])
        torch.testing.assert_close(term.value[term.mask], whole[name].value[some][term.mask])
