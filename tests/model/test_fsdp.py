"""The layers that FSDP shards one by one, as Accelerate finds them in a network, and a step with them."""

import copy

import pytest
import torch
import torch.distributed as dist
from accelerate import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy
from hand3d_support import small_hand3d
from tests_support import compose_config, random_batch, small_network
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from utnet_support import small_utnet

from tempohand.model.registry import build_network
from tempohand.training.objective import combine, weights_at

VIT = {"name": "vit_small_patch14_dinov2", "weights": None}
VIT["options"] = {"embed_dim": 32, "depth": 2, "num_heads": 2}


def dino(stage: int, **changes):
    """A network of small DINO blocks, of 56 px crops."""
    network = small_network(stage, size=56, **changes)
    return build_network(network | {"spatial": network["spatial"] | {"backbone": VIT}})


def units(network) -> list[str]:
    """The names of the modules that Accelerate's transformer_based_wrap would shard each by itself."""
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap")
    plugin.set_auto_wrap_policy(network)
    policy = fsdp2_prepare_auto_wrap_policy(plugin, network)
    return [name for name, module in network.named_modules() if policy(module)]


def test_every_repeated_layer_is_a_unit_of_its_own():
    found = units(dino(2))
    assert [name for name in found if "backbone" in name] == [
        f"spatial.backbone.net.blocks.{number}" for number in range(2)
    ]
    assert {"spatial.decoder.layers.0", "temporal.layers.0"} < set(found)
    assert any(name.startswith("backbone.net.blocks.") for name in units(small_utnet()))
    assert small_hand3d()._no_split_modules == []


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_the_configured_networks_have_units(size):
    backbone = compose_config(f"stage1-dino_{size}")["network"]["spatial"]["backbone"]["name"]
    assert "vit" in backbone and {"Block", "CrossBlock"} <= set(dino(1)._no_split_modules)


@pytest.fixture
def one_process():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module:UserWarning")  # nothing changes what it gives
def test_a_sharded_step_is_the_plain_one(one_process):
    torch.manual_seed(0)
    plain = dino(1)
    sharded, batch = copy.deepcopy(plain), random_batch(4, 1, 56)
    modules = dict(sharded.named_modules())
    for name in units(sharded):
        fully_shard(modules[name], mesh=one_process)
    fully_shard(sharded, mesh=one_process)
    weights = weights_at(compose_config("stage1-dino_small")["loss"], 0, 1)
    for network in (plain, sharded):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        loss, _ = combine(network.criterion(network(batch), batch), weights)
        loss.backward()
        optimizer.step()
    own = dict(plain.named_parameters())
    for name, parameter in sharded.named_parameters():
        torch.testing.assert_close(parameter.full_tensor(), own[name], msg=name)
