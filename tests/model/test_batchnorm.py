import pytest
import torch
from einops import rearrange

from tempohand.model.backbone import Backbone
from tempohand.model.batchnorm import GhostBatchNormAct2d


def layer(group: int, seed: int = 0) -> GhostBatchNormAct2d:
    generator = torch.Generator().manual_seed(seed)
    norm = GhostBatchNormAct2d(5, group=group, apply_act=False)
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return norm


def run(norm, x, direction):
    """Output, and the gradients of input and weights, of one training step."""
    x = x.clone().requires_grad_()
    y = norm(x)
    y.backward(direction)
    return y.detach(), x.grad, norm.weight.grad, norm.bias.grad


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_any_number_of_processes_makes_one_batch_s_statistics(processes):
    """The buffers' mean and the gradients' sum over processes are what one process has, whose groups are the
    same images."""
    x, direction = torch.randn(2, 24, 5, 4, 4, generator=torch.Generator().manual_seed(1)) * 3 + 1
    whole, shares = layer(6), [layer(6) for _ in range(processes)]
    output, grad, *weights = run(whole, x, direction)
    parts = [
        run(share, *both) for share, both in zip(shares, zip(x.chunk(processes), direction.chunk(processes)))
    ]
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), output)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), grad)
    for number, gradient in enumerate(weights, start=2):
        torch.testing.assert_close(sum(part[number] for part in parts), gradient)
    for name, buffer in whole.named_buffers():
        mean = torch.stack([dict(share.named_buffers())[name].float() for share in shares]).mean(dim=0)
        torch.testing.assert_close(mean, buffer.float())


def test_each_group_is_normalised_by_itself():
    x = (
        torch.randn(12, 5, 3, 3, generator=torch.Generator().manual_seed(2))
        * torch.arange(1, 13)[:, None, None, None]
    )
    y = layer(4)(x)
    torch.testing.assert_close(y, torch.cat([layer(4)(part) for part in x.split(4)]))
    norm = GhostBatchNormAct2d(5, group=4, apply_act=False)
    values = rearrange(norm(x), "(g n) c h w -> g c (n h w)", g=3)
    torch.testing.assert_close(values.mean(dim=-1), torch.zeros(3, 5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("images, sizes", [(3, [3]), (9, [5, 4]), (10, [5, 5]), (11, [4, 4, 3])])
def test_a_batch_that_is_no_multiple_is_split_evenly(images, sizes):
    x = torch.randn(images, 5, 3, 3, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(layer(4)(x), torch.cat([layer(100)(part) for part in x.split(sizes)]))


def test_it_is_batch_normalisation_in_evaluation_and_by_name():
    norm, plain = layer(2), torch.nn.BatchNorm2d(5)
    plain.load_state_dict(norm.state_dict())
    x = torch.randn(6, 5, 3, 3)
    torch.testing.assert_close(norm.eval()(x), plain.eval()(x))


def test_the_tiny_backbone_uses_it():
    net = Backbone("tempohand_tiny", 64, options={"stem": 16, "stages": [[16, 1], [32, 1]], "norm_group": 3})
    norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms and all(isinstance(norm, GhostBatchNormAct2d) and norm.group == 3 for norm in norms)
    with pytest.raises(ValueError, match="norm_group=0 must be at least 1"):
        Backbone("tempohand_tiny", 64, options={"norm_group": 0})
