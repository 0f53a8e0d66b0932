import pytest
import torch
from accelerate import Accelerator

from tempohand.training.processes import average_statistics, clips_per_process, on_main_process, seed_step


def test_a_batch_is_of_all_processes_and_micro_steps():
    for processes in (1, 2, 3, 4, 6):
        for accumulate in (1, 2):
            assert clips_per_process(48, processes, accumulate, 2) * processes * accumulate == 48


@pytest.mark.parametrize(
    "settings, near",
    [
        ((48, 5, 1, 1), "45 and 50"),
        ((48, 2, 4, 4), "32 and 64"),
        ((2, 4, 1, 1), "4 and 8"),
        ((0, 1, 1, 1), "1 and 2"),
    ],
)
def test_a_batch_that_cannot_be_shared_is_refused(settings, near):
    with pytest.raises(
        ValueError, match=f"optim.batch_size={settings[0]} cannot be shared evenly.*the nearest are {near}"
    ):
        clips_per_process(*settings)


def test_random_numbers_follow_from_the_place_alone():
    drawn = {}
    for place in [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]:
        seed_step(*place)
        drawn[place] = torch.rand(8)
        torch.rand(100)
        seed_step(*place)
        assert torch.rand(8).equal(drawn[place])
    assert len({tuple(numbers.tolist()) for numbers in drawn.values()}) == len(drawn)


def test_moving_statistics_become_the_mean_over_processes():
    """Frozen ones, in evaluation mode, are no business of training."""
    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(4).eval())
    for norm in network:
        norm.running_mean.fill_(2.0)
        norm.running_var.fill_(5.0)
    sent = []

    def sum_with_zero_from_the_other(x):
        sent.append(x)
        return x.clone()

    average_statistics(network, sum_with_zero_from_the_other, 2)
    assert len(sent) == 1 and sent[0].shape == (6,)
    assert network[0].running_mean.tolist() == [1.0] * 3 and network[0].running_var.tolist() == [2.5] * 3
    assert network[1].running_mean.tolist() == [2.0] * 4
    average_statistics(network, pytest.fail, 1)
    average_statistics(torch.nn.Linear(2, 2), pytest.fail, 2)


def test_what_the_main_process_finds_wrong_is_wrong_for_all():
    accelerator = Accelerator(cpu=True)
    assert on_main_process(accelerator, lambda: 3) == 3

    def wrong():
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        on_main_process(accelerator, wrong)
