"""The temporal encoder's mixture of predictions, and the vector it mixes."""

import numpy as np
import pytest
import torch

from tempohand.model.attention import rotary_turns
from tempohand.model.heads import HandParameters
from tempohand.model.spatial import SpatialFeatures
from tempohand.model.temporal import (
    GROUPS,
    HEAD_DIM,
    PARAMETER_DIM,
    PredictionMixture,
    TemporalEncoder,
    parameter_vector,
)


def inputs(clips=3, frames=7, width=32):
    generator = torch.Generator().manual_seed(0)
    x, context = (
        torch.randn(clips, width, generator=generator),
        torch.randn(clips, frames, width, generator=generator),
    )
    parameters = torch.randn(clips, frames, PARAMETER_DIM, generator=generator)
    position = torch.arange(frames).expand(clips, -1) - frames + 1.0
    mask = torch.ones(clips, frames, dtype=torch.bool)
    mask[1, :3] = False
    return x, context, parameters - parameters[:, -1:], mask, position


def mixed_by(mix, x, context, difference, mask, position):
    """What the mixture says [B, P] of frames where `mask` is True."""
    hidden = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    return mix(x, context, difference, hidden, position, rotary_turns(position, HEAD_DIM))


def test_groups_cover_the_hands_parameters():
    assert sum(GROUPS) == PARAMETER_DIM == 16 * 6 + 10 + 3


def test_a_mixture_without_preference_is_the_mean_of_the_frames_that_exist():
    mix, (x, context, difference, mask, position) = PredictionMixture(32), inputs()
    with torch.no_grad():
        assert (mixed_by(mix, x, context, difference, mask, position) == 0).all()  # its gate starts closed
        mix.query.weight.zero_()
        mix.gate.bias.fill_(1.0)
        mixed = mixed_by(mix, x, context, difference, mask, position)
    wanted = (difference * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(mixed, wanted, atol=1e-6, rtol=0)


def test_groups_are_mixed_apart():
    mix, (x, context, difference, mask, position) = PredictionMixture(32), inputs()
    with torch.no_grad():
        mix.gate.bias[3] = 1.0
        mixed = mixed_by(mix, x, context, difference, mask, position)
    assert (mixed[:, 18:24] != 0).all() and (mixed[:, :18] == 0).all() and (mixed[:, 24:] == 0).all()


def test_place_and_depth_of_the_wrist_are_trusted_apart():
    """uv is one group of two numbers, log depth, the last number, a group of its own: as `parameter_vector`
    lays them out."""
    uv, log_depth = torch.ones(1, 7, 2), torch.full((1, 7), 2.0)
    parameters = HandParameters(torch.zeros(1, 7, 96), torch.zeros(1, 7, 10), uv, log_depth, {})
    vector = parameter_vector(parameters, uv, log_depth)
    group = PredictionMixture(32).group
    assert vector[0, 0, -3:].tolist() == [1.0, 1.0, 2.0]
    assert group[-3] == group[-2] != group[-1] and (group.diff() >= 0).all()


def test_a_mixture_lies_between_the_frames_predictions():
    mix, (x, context, difference, mask, position) = PredictionMixture(32), inputs()
    with torch.no_grad():
        mix.gate.bias.fill_(1.0)
        mixed = mixed_by(mix, x, context, difference, mask, position)
    hidden = difference.masked_fill(~mask[..., None], torch.nan)
    low, high = (torch.nan_to_num(hidden, nan=fill) for fill in (torch.inf, -torch.inf))
    assert (mixed >= low.amin(1) - 1e-6).all() and (mixed <= high.amax(1) + 1e-6).all()


def test_details_are_seen():
    encoder, generator = TemporalEncoder(16, 21 * 2, 32, 1, 2), torch.Generator().manual_seed(1)
    features = SpatialFeatures(*(torch.randn(2, 7, *of, generator=generator) for of in ((16,), (21, 2))))
    parameters = torch.randn(2, 7, PARAMETER_DIM, generator=generator)
    time, mask = torch.linspace(-0.2, 0, 7).expand(2, -1), torch.ones(2, 7, dtype=torch.bool)
    with torch.no_grad():
        assert all((change == 0).all() for change in encoder(features, parameters, time, mask))
        encoder.correct.weight.normal_()
        before = encoder(features, parameters, time, mask)[1]
        features.readings[:, 2, 9, 1] += 1
        assert not torch.equal(encoder(features, parameters, time, mask)[1], before)


@pytest.mark.parametrize("kind", [0, 1], ids=["keys", "values"])
def test_every_layer_has_keys_and_values_of_its_own(kind):
    """Where the second layer's are zero its queries change nothing, and the first one's do."""
    encoder, generator = TemporalEncoder(16, 0, 32, 2, 2), torch.Generator().manual_seed(1)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    features = SpatialFeatures(torch.randn(2, 7, 16, generator=generator))
    parameters = torch.randn(2, 7, PARAMETER_DIM, generator=generator)
    time, mask = torch.linspace(-0.2, 0, 7).expand(2, -1), torch.ones(2, 7, dtype=torch.bool)
    with torch.no_grad():
        encoder.key_value.weight.view(2, 2, 2 * HEAD_DIM, 32)[kind, 1] = 0.0
        before = encoder(features, parameters, time, mask)[0]
        encoder.layers[1].query.weight.normal_(generator=generator)
        assert torch.equal(encoder(features, parameters, time, mask)[0], before)
        encoder.layers[0].query.weight.normal_(generator=generator)
        assert not torch.equal(encoder(features, parameters, time, mask)[0], before)


def test_a_trend_is_followed_without_delay():
    """At constant velocity the mixture is the last frame's own prediction, whichever frames it trusts; a mean
    is not."""
    mean, line = PredictionMixture(32), PredictionMixture(32, trend=True)
    line.load_state_dict(mean.state_dict())
    x, context, _, mask, position = inputs()
    velocity = torch.randn(3, 1, PARAMETER_DIM, generator=torch.Generator().manual_seed(2))
    position = 50 * position  # far apart, so that the ridge has no part
    with torch.no_grad():
        for mix in (mean, line):
            mix.gate.bias.fill_(1.0)
        moving = velocity * position[..., None] / 50
        late, kept = (mixed_by(mix, x, context, moving, mask, position) for mix in (mean, line))
    assert kept.abs().max() < 2e-3 and late.abs().mean() > 0.5


def test_a_line_through_frames_is_that_of_least_squares():
    mix, (x, context, difference, mask, position) = PredictionMixture(32, trend=True), inputs()
    position = 50 * position
    with torch.no_grad():
        mix.query.weight.zero_()
        mix.gate.bias.fill_(1.0)
        mixed = mixed_by(mix, x, context, difference, mask, position)
    for clip in range(len(mixed)):
        there = mask[clip]
        slope, end = np.polyfit(position[clip, there], difference[clip, there], 1)
        np.testing.assert_allclose(mixed[clip], end, atol=5e-3)


def test_only_mixed_means_nothing_else():
    """Whatever is learnt, the hand lies between what the frames say, the token stays, and of one frame alone
    the hand is that frame's."""
    encoder, generator = TemporalEncoder(16, 0, 32, 1, 2, only_mixed=True), torch.Generator().manual_seed(1)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    encoder.mix.gate.weight.data.fill_(0.0)
    encoder.mix.gate.bias.data.fill_(1.0)
    features = SpatialFeatures(torch.randn(2, 7, 16, generator=generator))
    parameters = torch.randn(2, 7, PARAMETER_DIM, generator=generator)
    time, mask = torch.linspace(-0.2, 0, 7).expand(2, -1), torch.ones(2, 7, dtype=torch.bool)
    mask[1, :-1] = False
    with torch.no_grad():
        token, change = encoder(features, parameters, time, mask)
    difference = parameters - parameters[:, -1:]
    assert (token == 0).all() and (change[1] == 0).all() and (change[0] != 0).any()
    assert (change[0] >= difference[0].amin(0) - 1e-5).all()
    assert (change[0] <= difference[0].amax(0) + 1e-5).all()
