"""The batch: what is known of a target's box, and copies of parts of it."""

import torch
from tests_support import random_batch


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


def test_some_of_the_clips_are_the_same_clips():
    batch = random_batch(4, 3, 64)
    some = batch[torch.tensor([2, 0])]
    assert torch.equal(some.image, batch.image[[2, 0]]) and torch.equal(some.target.joints, batch.target.joints[[2, 0]])
    assert torch.equal(batch.last_frame().image[:, 0], batch.image[:, -1])
