import math

import pytest
import torch

from tempohand.batch import Term
from tempohand.training.objective import (
    LabelCount,
    check_weights,
    combine,
    combine_and_count,
    weighted_sum,
    weights_at,
)


def term(value, mask):
    return Term(torch.tensor(value), torch.tensor(mask))


def test_means_are_over_valid_entries_only():
    terms = {
        "a": term([1.0, 5.0, 100.0], [True, True, False]),
        "b": term([[2.0, 4.0], [9.0, 9.0]], [True, False]),
    }
    loss, raw = combine(terms, {"a": 2.0, "b": 1.0})
    assert raw["a"] == 3 and raw["b"] == 3 and loss == 9


def test_nothing_valid_counts_nothing_and_is_not_reported():
    nothing = Term(torch.tensor([math.nan], requires_grad=True), torch.tensor([False]))
    loss, raw = combine({"a": term([2.0], [True]), "b": nothing}, {"a": 1.0, "b": 1.0})
    assert loss == 2 and "b" not in raw
    loss.backward()
    assert nothing.value.grad.isfinite().all()


def test_a_weight_for_no_term_is_refused():
    with pytest.raises(ValueError, match=r"no term is called \['joint'\]"):
        check_weights({"joint": 1.0, "no": 0, "none": None}, {"joints": "joints_mask"})


def test_processes_average_over_everybody_s_entries():
    """Two processes with unequal counts: the mean of their losses is the loss of all entries together."""
    first, second = term([1.0, 2.0, 6.0], [True, True, True]), term([11.0, 0.0, 0.0], [True, False, False])
    counts = {}
    for which, t in (("first", first), ("second", second)):
        combine({"a": t}, {"a": 1.0}, lambda c, which=which: counts.setdefault(which, c))
    total = counts["first"] + counts["second"]
    results = [combine_and_count({"a": t}, {"a": 1.0}, lambda c: total, 2) for t in (first, second)]
    assert sum(loss for loss, _, _ in results) / 2 == 20 / 4
    for _, means, counts in results:  # what is reported is of all processes
        assert means["a"] == 20 / 4 == weighted_sum(means, {"a": 1.0})
        assert counts["a"] == LabelCount(valid=4, known=4, entries=6)


def test_a_value_that_is_not_finite_is_seen_by_every_process():
    bad, good = term([math.nan, 1.0], [True, True]), term([1.0, 1.0], [True, True])
    counts = []
    for t in (bad, good):
        combine({"a": t}, {"a": 1.0}, lambda c: counts.append(c) or c)
    for t in (bad, good):
        assert combine({"a": t}, {"a": 1.0}, lambda c: sum(counts), 2)[1]["a"].isnan()


def test_a_weight_may_follow_the_step():
    loss = {"a": {"start": 5.0, "end": 1.0, "from": 10, "to": 30}, "b": 2.0, "c": None}
    found = [weights_at(loss, step, 100)["a"] for step in (0, 10, 15, 20, 30, 99)]
    assert found == [5.0, 5.0, 4.0, 3.0, 1.0, 1.0]
    assert weights_at(loss, 20, 100) == {"a": 3.0, "b": 2.0, "c": 0.0}
    check_weights(loss, loss)
    for wrong in ({"start": 1.0}, {"start": 1.0, "end": 2.0, "from": 5, "to": 5}):
        with pytest.raises(ValueError, match="loss.a=.* is no weight: give a number, or"):
            check_weights({"a": wrong}, loss)


def test_a_weight_may_follow_the_share_of_the_run():
    loss = {"mask": [[0.0, 100.0], [0.5, 10.0], [0.8, 1.0]]}
    check_weights(loss, loss)
    found = [weights_at(loss, step, 10)["mask"] for step in range(10)]
    assert found == [100.0] * 5 + [10.0] * 3 + [1.0] * 2
    assert [weights_at(loss, step, 1000)["mask"] for step in (0, 499, 500, 800)] == [100.0, 100.0, 10.0, 1.0]
    for wrong in ([], [[0.1, 1.0]], [[0.0, 1.0], [0.0, 2.0]], [[0.0, 1.0], [1.0, 2.0]], [0.0, 1.0]):
        with pytest.raises(ValueError, match="loss.mask=.* is no weight: give a number, or"):
            check_weights({"mask": wrong}, loss)


def test_of_several_terms_one_is_chosen():
    terms = {"far_a": "", "far_a_b": "", "near": ""}
    loss = {"far": "a", "far_a": 2.0, "far_a_b": [[0.0, 3.0]], "near": 1.0}
    check_weights(loss, terms)
    assert weights_at(loss, 0, 1) == {"far_a": 2.0, "far_a_b": 0.0, "near": 1.0}
    assert weights_at(loss | {"far": "a_b"}, 0, 1) == {"far_a": 0.0, "far_a_b": 3.0, "near": 1.0}
    for wrong in ({"far": "c"}, {"near": "a"}):
        with pytest.raises(ValueError, match="is no choice, this network has"):
            check_weights(loss | wrong, terms)


def test_a_term_that_another_process_lacks_is_averaged_all_the_same():
    """The names are those that the network may have, in one order on every process."""
    sums, names = [], ("a", "b")
    parts = [{"a": term([1.0], [True])}, {"a": term([3.0], [True]), "b": term([4.0], [True])}]
    for part in parts:
        combine(part, {}, lambda own: sums.append(own) or own, 2, names)
    total = sum(sums)
    found = [combine(part, {"a": 1.0, "b": 1.0}, lambda _: total, 2, names) for part in parts]
    assert all(raw == {"a": 2.0, "b": 4.0} for _, raw in found)
    assert sum(loss for loss, _ in found) / 2 == 6.0
