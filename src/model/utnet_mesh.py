"""Mesh-guided refinement: maps of three scales, what they hold under a hand's vertices, and what that changes
of the hand."""

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from tempohand.batch import Frames, HandPrediction
from tempohand.geometry import normalise_pixels, project
from tempohand.hand.layer import HandLayer
from tempohand.model.sampling import sample
from tempohand.model.utnet_depth import UNITS_MM, MeasuredDepth
from tempohand.skeleton import NUM_BETAS, NUM_MANO_JOINTS, NUM_VERTICES

NEAR_MM = 40.0  # depth measured farther from a vertex than this says no more than that it is
VERTEX_FACTS = 8  # numbers of a vertex besides what maps hold: its place in the crop and at rest, depth


class Upsampler(nn.Module):
    """Maps at x1, x2 and x4 of the tokens' raster: a 1 x 1 convolution, then twice a transposed one (kernel
    4, stride 2, padding 1), normalisation, ReLU.

    Normalisation is over groups of a frame's own channels, where the history had statistics of the batch:
    those would tie samples with and without depth together, and results to the number of processes.
    """

    def __init__(self, dim: int, widths: list[int]):
        super().__init__()
        if len(widths) != 3:
            raise ValueError(f"network.refinement.maps={list(widths)}: give the channels of three maps")
        self.enter = nn.Conv2d(dim, widths[0], 1)
        self.steps = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1),
                nn.GroupNorm(next(groups for groups in (8, 4, 2, 1) if after % groups == 0), after),
                nn.ReLU(),
            )
            for before, after in zip(widths, widths[1:])
        )

    def forward(self, tokens: Float[Tensor, "n c h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """From coarse to fine."""
        maps = [self.enter(tokens)]
        for step in self.steps:
            maps.append(step(maps[-1]))
        return maps


def normalised_adjacency(faces: Int[Tensor, "f 3"], vertices: int = NUM_VERTICES) -> Float[Tensor, "v v"]:
    """D^-1/2 (A + I) D^-1/2 of a mesh's edges (Kipf and Welling, ICLR 2017)."""
    corners = faces.cpu().numpy()
    adjacency = np.eye(vertices)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        adjacency[corners[:, first], corners[:, second]] = 1
        adjacency[corners[:, second], corners[:, first]] = 1
    root = 1 / np.sqrt(adjacency.sum(axis=1))
    return torch.from_numpy((root[:, None] * adjacency * root).astype(np.float32))


def neighbours(
    adjacency: Float[Tensor, "v v"],
) -> tuple[Int[Tensor, "v k"], Float[Tensor, "v k"]]:
    """A sparse matrix as each row's places and numbers, filled up with zeros: a hand's vertices have ten
    neighbours at most, and the product costs a sixth of the dense one."""
    most = int((adjacency != 0).sum(dim=1).max())
    weights, places = adjacency.abs().topk(most, dim=1)
    return places, adjacency.gather(1, places).where(weights > 0, 0.0)


class GraphPool(nn.Module):
    """Graph convolutions over the hand's own edges, the mean over each joint's skin and over the hand."""

    places: Int[Tensor, "v k"]
    edges: Float[Tensor, "v k"]
    skin: Float[Tensor, "16 v"]

    def __init__(self, hand: HandLayer, channels: int, widths: list[int]):
        super().__init__()
        # tables of a hand model, which no state dict holds
        places, weights = neighbours(normalised_adjacency(hand.faces))
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("edges", weights, persistent=False)
        skin = torch.from_numpy(hand.weights.cpu().numpy())
        self.register_buffer("skin", (skin / skin.sum(dim=0)).mT.contiguous(), persistent=False)
        self.norm = nn.LayerNorm(channels)
        before = [channels, *widths]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(before, before[1:]))
        self.dim = (NUM_MANO_JOINTS + 1) * widths[-1]

    def forward(self, features: Float[Tensor, "n v c"]) -> Float[Tensor, "n d"]:
        """One vector a hand."""
        x = self.norm(features)
        for layer in self.layers:
            x = F.relu(self.spread(layer(x)))
        return torch.cat([(self.skin @ x).flatten(1), x.mean(dim=1)], dim=-1)

    def spread(self, x: Float[Tensor, "n v c"]) -> Float[Tensor, "n v c"]:
        """The normalised adjacency times x."""
        rows = rearrange(x, "n v c -> v (n c)")
        summed = F.embedding_bag(self.places, rows, per_sample_weights=self.edges, mode="sum")
        return rearrange(summed, "v (n c) -> n v c", n=len(x))


class MaxPool(nn.Module):
    """The largest of each feature over the vertices, as in WiLoR."""

    def __init__(self, hand: HandLayer, channels: int, widths: list[int]):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.dim = channels

    def forward(self, features: Float[Tensor, "n v c"]) -> Float[Tensor, "n d"]:
        """One vector a hand."""
        return self.norm(features.amax(dim=1))


POOLS = {"graph": GraphPool, "max": MaxPool}


class Refinement(nn.Module):
    """Changes of a coarse hand, from what maps hold under its vertices and from what else is said of it.

    kind: of POOLS. maps: channels of the maps together; widths: of the graph convolutions; hidden: of what
    reads them; other: numbers of what else is said. The last layer starts at zero: at first nothing changes.
    """

    rest: Float[Tensor, "778 3"]

    def __init__(self, hand: HandLayer, kind: str, maps: int, widths: list[int], hidden: int, other: int):
        super().__init__()
        if kind not in POOLS:
            raise ValueError(f"network.refinement.kind: '{kind}' is none of {sorted(POOLS)}, nor null")
        template = hand.template.cpu()
        self.register_buffer("rest", (template - template.mean(dim=0)) / UNITS_MM, persistent=False)
        self.pool = POOLS[kind](hand, maps + VERTEX_FACTS, widths)
        self.norm = nn.LayerNorm(other)
        first = nn.Linear(self.pool.dim + other, hidden)
        last = nn.Linear(hidden, 6 * NUM_MANO_JOINTS + NUM_BETAS + 3)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.read = nn.Sequential(first, nn.GELU(), last)

    def forward(
        self, vertices: Float[Tensor, "n 778 c"], other: Float[Tensor, "n o"]
    ) -> tuple[Float[Tensor, "n 16 6"], Float[Tensor, "n 10"], Float[Tensor, "n 3"]]:
        """Changes of the rotations' 6D from the identity's, of the betas and of the camera. vertices: what
        `at_vertices` gives. The caller turns autocast off."""
        rest = self.rest.expand(len(vertices), -1, -1)
        pooled = self.pool(torch.cat([vertices, rest], dim=-1))
        change = self.read(torch.cat([pooled, self.norm(other)], dim=-1))
        columns, shape, camera = change.split([6 * NUM_MANO_JOINTS, NUM_BETAS, 3], dim=-1)
        return columns.unflatten(-1, (-1, 6)), shape, camera


def at_vertices(
    maps: list[Float[Tensor, "n _ _ _"]], hand: HandPrediction, frames: Frames, depth: MeasuredDepth | None
) -> Float[Tensor, "n 778 c"]:
    """What is known under a hand's vertices, float32: what each map holds there, the vertex's place in the
    crop, its distance before the wrist, and how far behind it depth is measured. No gradient moves the
    vertices."""
    vertices = hand.vertices[:, 0].detach()
    wrist = hand.trans[:, 0].detach()
    count = len(vertices)
    pixels = project(vertices, frames.focal[:count].float(), frames.princpt[:count].float())
    places = normalise_pixels(pixels, frames.size[::-1])
    before = (vertices[..., 2:] - wrist[:, None, 2:]) / UNITS_MM
    sampled = [sample(each.float(), places, frames.size) for each in maps]
    return torch.cat([*sampled, places, before, depth_behind(depth, vertices[..., 2], places)], dim=-1)


def depth_behind(
    depth: MeasuredDepth | None, z: Float[Tensor, "n v"], places: Float[Tensor, "n v 2"]
) -> Float[Tensor, "n v 2"]:
    """How far behind points at depth `z`, mm, depth is measured at their places in the crop, over NEAR_MM and
    in [-1, 1], and 1 where it is measured; 0 and 0 elsewhere. Of the nearest pixel: a mean over an edge is
    nowhere."""
    if depth is None:
        return torch.zeros(*z.shape, 2, dtype=z.dtype, device=z.device)
    size = depth.metric.shape[-2], depth.metric.shape[-1]
    measured = sample(depth.metric, places, size, mode="nearest")[..., 0]
    known = (measured > 0) & (places.abs() <= 0.5).all(dim=-1)
    behind = ((measured - z) / NEAR_MM).clamp(-1, 1).where(known, 0.0)
    return torch.stack([behind, known.to(z.dtype)], dim=-1)
