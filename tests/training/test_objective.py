import math

import pytest
import torch

from tempohand.batch import Term
from tempohand.training.objective import LabelCount, combine, combine_and_count, weighted_sum


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
        combine({"joints": term([1.0], [True])}, {"joint": 1.0})


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
