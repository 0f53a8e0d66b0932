import torch
from tests_support import small_network
from timm.utils import ModelEmaV3

from tempohand.model.registry import build_network
from tempohand.training.average import WeightAverage


def change(network, seed):
    """Every trainable weight and every buffer that training moves, by some amount."""
    generator = torch.Generator().manual_seed(seed)
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    moved = [
        buffer for module in network.modules() if module.training for buffer in module.buffers(recurse=False)
    ]
    with torch.no_grad():
        for tensor in (*learned, *(buffer for buffer in moved if buffer.is_floating_point())):
            tensor += torch.rand(tensor.shape, generator=generator)


def test_the_average_is_timm_s_where_all_is_learned():
    network = build_network(small_network(1))
    ours, timms = (
        kind(network, decay=0.9, use_warmup=True, warmup_power=0.8) for kind in (WeightAverage, ModelEmaV3)
    )
    for step in range(1, 5):
        change(network, step)
        for average in (ours, timms):
            average.update(network, step=step)
    theirs = timms.module.state_dict()
    assert all(tensor.equal(theirs[name]) for name, tensor in ours.module.state_dict().items())


def test_frozen_weights_stay_what_they_are_whatever_the_average_holds():
    """Also where rounding would move them: the average starts from other values, and leaves these alone."""
    network = build_network(small_network(2))
    average = WeightAverage(network, decay=0.9)
    with torch.no_grad():
        for tensor in average.module.spatial.parameters():
            tensor += 1.0
    before = {name: tensor.clone() for name, tensor in average.module.state_dict().items()}
    change(network, 0)
    average.update(network, step=10)
    changed = {name for name, tensor in average.module.state_dict().items() if not tensor.equal(before[name])}
    assert changed == {name for name, parameter in network.named_parameters() if parameter.requires_grad}
