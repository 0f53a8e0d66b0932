"""Batch normalisation over groups of a fixed number of images, whatever share of the batch a process has."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class GhostBatchNormAct2d(BatchNormAct2d):
    """timm's BatchNorm2d and activation, with the statistics of every `group` images by themselves in
    training.

    "Ghost batch normalisation", E. Hoffer, I. Hubara, D. Soudry, "Train longer, generalize better", 2017. As
    long as `group` divides what each process has of a batch, training is the same on any number of processes.
    A batch that is no multiple is split evenly into the nearest number of groups. The running statistics move
    by the mean of what the groups say: the mean of the processes' is then the whole batch's. Weights and
    buffers are named as BatchNorm2d's. Raises ValueError for a group of less than 1.
    """

    def __init__(self, channels: int, *, group: int, **options):
        super().__init__(channels, **options)
        if group < 1:
            raise ValueError(f"the backbone's option norm_group={group} must be at least 1 image")
        self.group = group

    def groups(self, images: int) -> int:
        """Into how many groups a batch is split."""
        return max(round(images / self.group), 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Normalised, and through the activation."""
        groups = self.groups(len(x))
        if not self.training or groups == 1:
            return super().forward(x)
        sizes = [len(x) // groups + (place < len(x) % groups) for place in range(groups)]
        means, variances = (torch.zeros(groups, self.num_features, device=x.device) for _ in range(2))
        parts = [  # momentum 1: the buffers take a group's statistics as they are
            F.batch_norm(part, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
            for part, mean, variance in zip(x.split(sizes), means, variances)
        ]
        self.running_mean.lerp_(means.mean(dim=0), self.momentum)
        self.running_var.lerp_(variances.mean(dim=0), self.momentum)
        self.num_batches_tracked.add_(1)
        return self.act(self.drop(torch.cat(parts)))


def sharing_effects(network: nn.Module, images: int) -> Iterator[str]:
    """Says, in a line each, how batch normalisation in training depends on a process having `images` of a
    batch; nothing where it does not."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    ghosts = [norm for norm in norms if isinstance(norm, GhostBatchNormAct2d)]
    if uneven := next((norm for norm in ghosts if images % norm.group), None):
        yield (
            f"batch normalisation has groups of {images / uneven.groups(images):g} images, "
            f"not {uneven.group}, since {images} is what a process has of a batch: "
            "on another number of processes the training is another "
            "(norm_group of the backbone's options)"
        )
    if len(ghosts) < len(norms):
        yield (
            f"batch normalisation is over the {images} images of a process: "
            "on another number of processes the training is another"
        )
