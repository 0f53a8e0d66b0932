"""Weights out of .tflite files, against files that are written here."""

import numpy as np
import pytest
import torch
from tflite_support import tflite_of
from torch import nn

from tempohand.model.landmarks import same_convolution
from tempohand.model.tflite import read_operators, state_dict_of


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [
        same_convolution(3, 6, 3, stride=2),
        nn.PReLU(6),
        same_convolution(6, 6, 5, groups=6),
        nn.Conv2d(6, 4, 1),
        nn.Linear(4, 2),
    ]
    for parameter in nn.ModuleList(layers).parameters():
        nn.init.normal_(parameter)
    return nn.Sequential(*layers)


def test_weights_come_back_by_their_names():
    written = network()
    read = state_dict_of(written, read_operators(tflite_of(written), "a.tflite"), "a.tflite")
    assert read.keys() == written.state_dict().keys()
    for name, values in written.state_dict().items():
        assert read[name].dtype == torch.float16 and read[name].equal(values.half()), name


def test_a_file_that_is_cut_off_is_refused_wherever_it_is():
    data = tflite_of(network())
    for length in (*range(0, 400), *range(400, len(data), 37), len(data) - 1):
        with pytest.raises(ValueError, match=r"'a.tflite' is (not a|a damaged) .tflite file"):
            read_operators(data[:length], "a.tflite")


def test_damage_is_refused_or_harmless():
    data, rng = tflite_of(network()), np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        damaged = bytearray(data)
        damaged[rng.integers(8, len(data))] = rng.integers(256)
        try:
            state_dict_of(network(), read_operators(bytes(damaged), "a.tflite"), "a.tflite")
        except ValueError as error:
            assert str(error).startswith("'a.tflite' is") and "\n" not in str(error)
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda layers: layers.append(nn.Linear(2, 2)), "it has 5 layers with weights, not 6"),
        (
            lambda layers: layers.insert(3, layers.pop(2)) and None,
            r"at '2' it has weights \[\(6, 1, 5, 5\), \(6,\)\], not \[\(4, 6, 1, 1\), \(4,\)\]",
        ),
        (lambda layers: layers.__setitem__(4, nn.Conv2d(4, 2, 1)), r"at '4' it has weights \[\(2, 4\), "),
    ],
    ids=["one layer more", "another order", "another kind"],
)
def test_another_network_is_refused(change, message):
    layers = list(network())
    operators = read_operators(tflite_of(network()), "a.tflite")
    change(layers)
    with pytest.raises(ValueError, match=f"'a.tflite' is another network than Sequential: {message}"):
        state_dict_of(nn.Sequential(*layers), operators, "a.tflite")
