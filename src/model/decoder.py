"""One learned query gathers what a frame's image tokens hold of the hand, by cross-attention."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tempohand.model.attention import CrossBlock


def sincos_positions(rows: int, columns: int, dim: int) -> Float[Tensor, "l d"]:
    """Fixed 2D sine-cosine positions of a raster, row by row (Vaswani et al. 2017, one half per axis)."""
    quarter = dim // 4
    frequency = 10_000.0 ** (-torch.arange(quarter) / quarter)
    angle = torch.arange(max(rows, columns))[:, None] * frequency  # (places, quarter)
    axis = torch.cat([angle.sin(), angle.cos()], dim=-1)
    down = axis[:rows, None].expand(rows, columns, -1)
    across = axis[None, :columns].expand(rows, columns, -1)
    positions = torch.cat([down, across], dim=-1).reshape(rows * columns, -1)
    return torch.nn.functional.pad(positions, (0, dim - positions.shape[-1]))


class Decoder(nn.Module):
    """Cross-attention layers from one query to the image tokens.

    With a single query self-attention would be one linear map, so there is none.
    """

    positions: Float[Tensor, "l c"]

    def __init__(
        self,
        dim: int,
        context_dim: int,
        grid: int,
        layers: int,
        heads: int,
        mlp: int,
        dropout: float = 0.0,
        head_dim: int = 64,
    ):
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.register_buffer("positions", sincos_positions(grid, grid, context_dim), persistent=False)
        self.layers = nn.ModuleList(
            CrossBlock(dim, heads, mlp, context_dim, head_dim, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Float[Tensor, "n l c"]) -> Float[Tensor, "n d"]:
        """The frame's token."""
        tokens = tokens + self.positions.to(tokens.dtype)
        x = self.query.expand(tokens.shape[0], -1, -1)
        for layer in self.layers:
            x = layer(x, tokens)
        return self.norm(x)[:, 0]
