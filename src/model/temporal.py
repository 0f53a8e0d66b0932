"""The temporal encoder: the last frame's token asks the tokens of up to 7 frames what they know."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tempohand.model.attention import CrossBlock
from tempohand.model.heads import HandParameters
from tempohand.skeleton import NUM_BETAS, NUM_MANO_JOINTS

ROTARY_UNIT_S = 0.020  # one rotary position per 20 ms
CORRECTION_DIM = 6 * NUM_MANO_JOINTS + NUM_BETAS + 3  # rotations in 6D, shape, wrist uv and log depth


class TemporalEncoder(nn.Module):
    """tokens [B, T, D] with what the frozen heads read from each -> the last frame's token [B, 1, D], and a correction to its parameters.

    Queries are the last frame's token, keys and values all T; positions are real times, so that dropped frames are seen as such. The output
    layers start at zero: a new encoder returns the last token unchanged, and Stage 2 begins exactly as Stage 1. The correction is the same
    change without the frozen heads in its way, whose few strong directions make learning through them alone slow.
    """

    def __init__(self, dim: int, reading_dim: int, width: int, layers: int, heads: int, dropout: float = 0.0, head_dim: int = 64):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.embed_token, self.embed_reading = nn.Linear(dim, width), nn.Linear(reading_dim, width)
        self.layers = nn.ModuleList(CrossBlock(width, heads, 2 * width, head_dim=head_dim, dropout=dropout) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)
        self.out, self.correct = nn.Linear(width, dim), nn.Linear(width, CORRECTION_DIM)
        for zero in (self.out, self.correct):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def forward(
        self,
        tokens: Float[Tensor, "b t d"],
        readings: Float[Tensor, "b t r"],
        time: Float[Tensor, "b t"],
        frame_mask: Bool[Tensor, "b t"],
    ) -> tuple[Float[Tensor, "b 1 d"], Float[Tensor, "b 1 c"]]:
        """`time` in seconds relative to the last frame; `frame_mask` is False for frames that do not exist."""
        context = self.embed_token(self.norm(tokens)) + self.embed_reading(readings)
        position = time / ROTARY_UNIT_S
        x = context[:, -1:]
        for layer in self.layers:
            x = layer(x, context, frame_mask, (position[:, -1:], position))
        x = self.norm_out(x)
        return tokens[:, -1:] + self.out(x).to(tokens.dtype), self.correct(x).float()


def frame_readings(parameters: HandParameters, wrist: Float[Tensor, "b t 3"], log_depth: Float[Tensor, "b t"]) -> Float[Tensor, "b t r"]:
    """What the heads say of each frame, and how that differs from the last frame's, scaled to about unit size.

    Rotations in 6D, shape, wrist, log depth. The wrist is taken relative to the last frame's and in units of its depth, which is as it
    appears and needs no scale.
    """
    pose = rearrange(parameters.rotation[..., :2], "b t joint row column -> b t (joint column row)")
    own = torch.cat([pose, 0.3 * parameters.shape, log_depth[..., None]], dim=-1)
    relative = (wrist - wrist[:, -1:]) / wrist[:, -1:, 2:].clamp_min(1.0)
    return torch.cat([own, 3 * (own - own[:, -1:]), 10 * relative], dim=-1)


READING_DIM = 2 * (6 * NUM_MANO_JOINTS + NUM_BETAS + 1) + 3
