"""Joint orders: each gather, applied to the names in a data set's own order, gives the project's names."""

import pytest

from tempohand.data.convert import orders
from tempohand.skeleton import FINGERS, JOINT_NAMES

ENDS = ("1", "2", "3", "tip")  # base to tip


def names(fingers, ends):
    return [f"{finger}_{end}" for finger in fingers for end in ends]


OWN = {
    "INTERHAND_TO_OP": [*names(FINGERS, ENDS[::-1]), "wrist"],
    "RHD_TO_OP": ["wrist", *names(FINGERS, ENDS[::-1])],
    "STB_TO_OP": ["wrist", *names(FINGERS[::-1], ENDS)],
}


@pytest.mark.parametrize("name", OWN)
def test_a_gather_makes_the_projects_order(name):
    assert tuple(OWN[name][place] for place in getattr(orders, name)) == JOINT_NAMES


@pytest.mark.parametrize("gather", orders.ORDERS.values(), ids=orders.ORDERS)
def test_every_known_order_is_a_permutation_of_its_own(gather):
    assert sorted(gather) == list(range(21))
    assert list(orders.ORDERS.values()).count(gather) == 1
