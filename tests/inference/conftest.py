"""A tiny network with the interface of a trained one."""

from pathlib import Path

import pytest
import torch
from einops import rearrange
from torch import nn

from tempohand.batch import ClipBatch, Frames, HandPrediction
from tempohand.cli import make_parser
from tempohand.commands.predict import run
from tempohand.geometry import normalise_pixels, project, unproject
from tempohand.hand.layer import HandLayer
from tempohand.model.network import Crop

SIZE = 64
PATCHES = 4


class FakeNetwork(nn.Module):
    """Deterministic, without weights: the crop's patches decide the hand, the history is averaged with
    weights by time."""

    tells_sides = False
    needed = ()
    feature_dim = 3 * PATCHES**2

    def __init__(self, num_frame: int = 7, poison: bool = False):
        super().__init__()
        self.num_frame, self.poison = num_frame, poison
        self.crop = Crop(SIZE, SIZE, 2.0)
        self.hand = HandLayer()
        self.encoded = 0  # frames
        self.config = {}

    def encode(self, frames: Frames) -> torch.Tensor:
        self.encoded += len(frames)
        step = SIZE // PATCHES
        patches = rearrange(frames.image.float() / 255, "n c (h i) (w j) -> n (c h w) (i j)", i=step, j=step)
        return patches.mean(dim=-1) - 0.5

    def certainty(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, :21] + 0.5

    def decode(self, tokens: torch.Tensor, batch: ClipBatch) -> HandPrediction:
        assert batch.edge == SIZE and batch.time[:, -1].abs().max() == 0 and batch.frame_mask[:, -1].all()
        weight = torch.exp(5 * batch.time) * batch.frame_mask
        seen = (weight[..., None] * tokens).sum(1, keepdim=True) / weight.sum(1)[:, None, None]
        focal, princpt = batch.focal[:, -1:], batch.princpt[:, -1:]
        pixel = SIZE * (0.5 + 0.3 * tokens[:, -1:, :2])
        depth = 10 * focal[..., 0] * (1.2 + seen[..., 3])
        trans = unproject(pixel[:, :, None], depth[..., None], focal, princpt)[:, :, 0]
        shape = tokens[:, -1:, 10:20]
        joints, vertices = self.hand(seen, shape, trans)
        if self.poison:
            joints = joints * torch.nan
        return HandPrediction(
            pose=seen,
            rotation=torch.eye(3).expand(*seen.shape[:2], 16, 3, 3),
            shape=shape,
            trans=trans,
            joints=joints,
            vertices=vertices,
            joints2d=normalise_pixels(project(joints, focal, princpt), (SIZE, SIZE)),
        )

    def forward(self, batch: ClipBatch) -> HandPrediction:
        features = batch.frames.features
        if features is None:
            features = self.encode(batch.frames)
        return self.decode(features[batch.index], batch)


@pytest.fixture
def predict(tmp_path):
    """predict(*arguments, network=...) -> the folder with the results, by `tempohand predict` with a fake
    network."""

    def go(*arguments, network: FakeNetwork | None = None, out: str = "out") -> Path:
        words = ["predict", *map(str, arguments), "--checkpoint", "fake", "--out", str(tmp_path / out)]
        return run(make_parser("predict").parse_args(words), load=lambda _: network or FakeNetwork())

    return go


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder with real input, beside the repository; tests that want it skip without it."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "samples"
    if not folder.is_dir():
        pytest.skip("no samples beside the repository")
    return folder


@pytest.fixture
def fake_network() -> type[FakeNetwork]:
    return FakeNetwork
