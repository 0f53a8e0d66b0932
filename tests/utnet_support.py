"""The smallest UTNet, and batches for it."""

from dataclasses import replace

import torch
from tests_support import random_batch

from tempohand.batch import ClipBatch
from tempohand.geometry import normalise_pixels, project
from tempohand.model.registry import build_network
from tempohand.model.utnet import UTNet

SIZE = HEIGHT, WIDTH = 64, 48
SMALL = {
    "name": "utnet",
    "num_frame": 1,
    "size": [HEIGHT, WIDTH],
    "expansion": 1.6,
    "hand": None,
    "trunk": {
        "name": "vit_tiny_patch16_224",
        "options": {"embed_dim": 32, "depth": 1, "num_heads": 2, "mlp_ratio": 1.0},
    },
    "fusion": {"widths": [], "dropout": 0.4},
    "refinement": {"kind": "graph", "maps": [16, 8, 8], "widths": [16], "hidden": 16},
}


def small_utnet(seed: int = 0, **changes) -> UTNet:
    """With weights everywhere, as after some training: a refinement that starts at zero hides faults."""
    torch.manual_seed(seed)
    network = build_network(SMALL | changes)
    if network.refinement is not None:
        torch.nn.init.normal_(network.refinement.read[-1].weight, std=0.02)
    torch.nn.init.normal_(network.fusion.placeholder, std=0.1)
    return network


def utnet_batch(clips: int = 4, size: tuple[int, int] = SIZE, depth: str | None = "all") -> ClipBatch:
    """Noise for pictures, hands in the middle of the crops. depth: of all frames, none (all zeros), every
    second one (some), or None: there is no depth in the batch."""
    batch = random_batch(clips, 1, WIDTH)
    height, width = size
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (clips, 3, height, width), generator=generator, dtype=torch.uint8)
    focal = torch.full((clips, 2), 2.0 * width)
    princpt = torch.tensor([width / 2 + 3.0, height / 2 - 2.0]).expand(clips, 2)
    batch.frames = replace(batch.frames, size=size, image=image, focal=focal, princpt=princpt)
    batch.target.joints2d = normalise_pixels(
        project(batch.target.joints, focal[:, None], princpt[:, None]), (width, height)
    )
    if depth is not None:
        measured = batch.target.trans[:, 0, 2].view(-1, 1, 1, 1) + 60 * torch.rand(
            clips, 1, height, width, generator=generator
        )
        measured[:, :, ::7] = 0  # holes
        frames = {"all": clips, "none": 0, "some": torch.arange(clips) % 2}[depth]
        kept = frames > 0 if isinstance(frames, torch.Tensor) else torch.full((clips,), frames > 0)
        batch.frames.depth = measured * kept.view(-1, 1, 1, 1)
    return batch
