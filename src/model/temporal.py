"""The temporal encoder: the last frame's token asks the tokens of up to 7 frames what they know."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tempohand.model.attention import CrossBlock

ROTARY_UNIT_S = 0.020  # one rotary position per 20 ms


class TemporalEncoder(nn.Module):
    """tokens [B, T, D] with what the frozen heads read from each -> the last frame's token [B, 1, D].

    Queries are the last frame's token, keys and values all T; positions are real times, so that dropped frames are seen as such. The output
    layer starts at zero: a new encoder returns the last token unchanged, and Stage 2 begins exactly as Stage 1.
    """

    def __init__(self, dim: int, reading_dim: int, width: int, layers: int, heads: int, dropout: float = 0.0, head_dim: int = 64):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.embed_token, self.embed_reading = nn.Linear(dim, width), nn.Linear(reading_dim, width)
        self.layers = nn.ModuleList(CrossBlock(width, heads, 2 * width, head_dim=head_dim, dropout=dropout) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)
        self.out = nn.Linear(width, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        tokens: Float[Tensor, "b t d"],
        readings: Float[Tensor, "b t r"],
        time: Float[Tensor, "b t"],
        frame_mask: Bool[Tensor, "b t"],
    ) -> Float[Tensor, "b 1 d"]:
        """`time` in seconds relative to the last frame; `frame_mask` is False for frames that do not exist."""
        context = self.embed_token(self.norm(tokens)) + self.embed_reading(readings)
        position = time / ROTARY_UNIT_S
        x = context[:, -1:]
        for layer in self.layers:
            x = layer(x, context, frame_mask, (position[:, -1:], position))
        return tokens[:, -1:] + self.out(self.norm_out(x)).to(tokens.dtype)


def frame_readings(parameters, wrist: Float[Tensor, "b t 3"], log_depth: Float[Tensor, "b t"]) -> Float[Tensor, "b t r"]:
    """What the heads say of each frame, scaled to about unit size: rotations in 6D, shape, wrist relative to the last frame's, log depth.

    The wrist is taken in units of the last frame's depth, which is as it appears and needs no scale.
    """
    relative = (wrist - wrist[:, -1:]) / wrist[:, -1:, 2:].clamp_min(1.0)
    depth = torch.stack([log_depth, log_depth - log_depth[:, -1:]], dim=-1)
    flat = rearrange(parameters.rotation[..., :2], "b t joint row column -> b t (joint column row)")
    return torch.cat([flat, 0.3 * parameters.shape, 10 * relative, depth], dim=-1)


READING_DIM = 16 * 6 + 10 + 3 + 2
