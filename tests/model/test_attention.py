"""Rotary positions, and what is added to image tokens: places of the raster, rays of the camera."""

import pytest
import torch

from tempohand.model.attention import rotary, rotary_turns
from tempohand.model.decoder import sincos_positions
from tempohand.model.perspective import PerspectiveEmbedding


def test_rotary_turns_and_leaves_lengths():
    x = torch.randn(2, 3, 5, 16, generator=torch.Generator().manual_seed(0))
    position = torch.randn(2, 5, generator=torch.Generator().manual_seed(1)) * 20
    torch.testing.assert_close(
        rotary(x, rotary_turns(position, 16)).norm(dim=-1), x.norm(dim=-1), atol=1e-5, rtol=0
    )
    assert torch.equal(rotary(x, rotary_turns(torch.zeros(2, 5), 16)), x)


def test_rotary_products_depend_on_the_distance_alone():
    query, key = torch.randn(2, 1, 1, 1, 16, generator=torch.Generator().manual_seed(0))

    def product(of_query, of_key):
        turns = (rotary_turns(torch.tensor([[float(place)]]), 16) for place in (of_query, of_key))
        return (rotary(query, next(turns)) * rotary(key, next(turns))).sum()

    torch.testing.assert_close(product(7.5, 4.0), product(3.5, 0.0), atol=1e-4, rtol=0)
    assert abs(product(7.5, 4.0) - product(4.0, 7.5)) > 1e-2  # before is not after


def test_shorter_vectors_turn_at_some_of_the_rates_of_longer_ones():
    """Which is why the temporal encoder makes its turns once, for keys of two lengths."""
    position = torch.randn(2, 5, generator=torch.Generator().manual_seed(1)) * 20
    for long, short in zip(rotary_turns(position, 64), rotary_turns(position, 16), strict=True):
        torch.testing.assert_close(long[..., ::4, :], short)


@pytest.mark.parametrize(("grid", "dim"), [(7, 64), (16, 384), (5, 30)])
def test_every_cell_of_the_raster_has_a_position_of_its_own(grid, dim):
    positions = sincos_positions(grid, grid, dim)
    assert positions.shape == (grid * grid, dim)
    distance = torch.cdist(positions, positions) + 10 * torch.eye(grid * grid)
    assert distance.min() > 0.1
    # Rows and columns are two halves of one thing: the transposed raster's positions are the same with the
    # halves exchanged.
    half = dim // 4 * 2
    transposed = positions.view(grid, grid, dim).transpose(0, 1).flatten(0, 1)
    torch.testing.assert_close(transposed[:, :half], positions[:, half : 2 * half])


def test_rays_change_nothing_before_training():
    embedding = PerspectiveEmbedding(32, heads=2)
    tokens = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(0))
    camera = torch.full((2, 2), 100.0), torch.full((2, 2), 31.5)
    assert torch.equal(embedding(tokens, *camera, 64), tokens)
    torch.nn.init.normal_(embedding.out.weight)
    other = torch.full((2, 2), 200.0)
    assert not torch.equal(embedding(tokens, *camera, 64), embedding(tokens, other, camera[1], 64))
