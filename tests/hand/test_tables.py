"""The mirror image of a hand, and the two forms of a left hand's shape directions."""

import dataclasses

import numpy as np
import pytest
import torch

from tempohand.hand.files import read_hand_file, write_hand_file
from tempohand.hand.layer import HandLayer
from tempohand.hand.tables import HandTables, mirrored, shapedirs_form, with_left_shapedirs

MIRROR = torch.tensor([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def right() -> HandTables:
    return read_hand_file()


def same_bits(ours: HandTables, wanted: HandTables) -> bool:
    pairs = [
        (getattr(ours, field.name), getattr(wanted, field.name))
        for field in dataclasses.fields(HandTables)[1:]
    ]
    return ours.side == wanted.side and all(
        a.tobytes() == b.tobytes() and a.dtype == b.dtype for a, b in pairs
    )


def test_mirrored_twice_is_the_same_hand_bit_for_bit(right):
    assert mirrored(right).side == "left"
    assert not same_bits(mirrored(right), right) and same_bits(mirrored(mirrored(right)), right)


def test_the_mirrored_hand_moves_as_the_hand_in_a_mirror(right, tmp_path):
    """Whatever pose and shape: mirrored rotations give mirrored vertices and joints."""
    generator = torch.Generator().manual_seed(0)
    pose, betas = torch.randn(5, 16, 3, generator=generator), torch.randn(5, 10, generator=generator)
    left = HandLayer(write_hand_file(mirrored(right), tmp_path / "left.npz"))
    assert left.side == "left"
    mirrored_pose = (pose * torch.tensor([1.0, -1.0, -1.0])).flatten(-2)
    for ours, wanted in zip(left(mirrored_pose, betas), HandLayer()(pose.flatten(-2), betas), strict=True):
        torch.testing.assert_close(ours, wanted * MIRROR, atol=1e-3, rtol=0)


def test_the_mirrored_faces_look_outward(right):
    def volume(tables):
        a, b, c = tables.v_template[tables.faces].astype(np.float64).transpose(1, 0, 2)
        return (a * np.cross(b, c)).sum() / 6

    assert volume(right) > 0
    np.testing.assert_allclose(volume(mirrored(right)), volume(right), rtol=1e-6)


def test_a_pose_of_the_mirrored_components_is_the_mirrored_pose(right):
    left, coefficients = mirrored(right), np.random.default_rng(0).normal(size=45)
    ours = (left.hands_mean + coefficients @ left.hands_components).reshape(15, 3)
    wanted = (right.hands_mean + coefficients @ right.hands_components).reshape(15, 3)
    np.testing.assert_allclose(ours, wanted * [1, -1, -1], atol=1e-6)


def test_shapedirs_are_fixed_only_where_they_are_wrong(right):
    left = mirrored(right)
    unfixed = dataclasses.replace(left, shapedirs=left.shapedirs * MIRROR.numpy()[:, None])
    np.testing.assert_array_equal(unfixed.shapedirs[:, 0], right.shapedirs[:, 0])  # the official file's error
    assert [shapedirs_form(tables) for tables in (right, left, unfixed)] == ["fixed", "fixed", "unfixed"]
    for tables in (left, unfixed):
        assert same_bits(with_left_shapedirs(tables, "fixed"), left)
        assert same_bits(with_left_shapedirs(tables, "unfixed"), unfixed)
    for form in ("fixed", "unfixed"):
        assert with_left_shapedirs(right, form) is right


@pytest.mark.parametrize("sign", [1, -1])
def test_the_form_does_not_depend_on_where_the_hand_lies_nor_on_which_size_is_positive(right, sign):
    moved = dataclasses.replace(
        mirrored(right),
        v_template=mirrored(right).v_template + np.float32([5, -3, 2]),
        shapedirs=sign * mirrored(right).shapedirs + np.float32([[0.1], [0.2], [-0.3]]),
    )
    assert shapedirs_form(moved) == "fixed"
    assert shapedirs_form(with_left_shapedirs(moved, "unfixed")) == "unfixed"
