"""The batch: what is known of a target's box, and copies of parts of it."""

import pytest
import torch
from tests_support import random_batch, small_finder, small_network

from tempohand.model.registry import build_network


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
    assert torch.equal(some.image, batch.image[[2, 0]]) and torch.equal(
        some.target.joints, batch.target.joints[[2, 0]]
    )
    assert torch.equal(batch.last_frame().image[:, 0], batch.image[:, -1])


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
