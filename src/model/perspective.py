"""Camera awareness: the crop's rays enter the image tokens, so that the same crop under another focal length
means another depth."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.geometry import crop_rays
from tempohand.model.attention import CrossBlock

RAY_GRID = 8


class PerspectiveEmbedding(nn.Module):
    """Image tokens attend to each other and to an 8 x 8 grid of camera rays with their in-crop uv; the output
    is zero at first, and added."""

    def __init__(self, dim: int, heads: int, ray_dim: int = 64, head_dim: int = 64):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(4, ray_dim), nn.GELU(), nn.Linear(ray_dim, ray_dim))
        self.block = CrossBlock(
            dim, heads, 2 * dim, context_dim=ray_dim, head_dim=head_dim, self_attention=True
        )
        self.out = nn.Linear(dim, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        tokens: Float[Tensor, "n l c"],
        focal: Float[Tensor, "n 2"],
        princpt: Float[Tensor, "n 2"],
        size: int,
    ) -> Float[Tensor, "n l c"]:
        """`focal` and `princpt` in pixels of a size x size crop."""
        with torch.autocast(tokens.device.type, enabled=False):
            rays = crop_rays(focal.float(), princpt.float(), size, RAY_GRID)
        return tokens + self.out(self.block(tokens, self.embed(rays)))
