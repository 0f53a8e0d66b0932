"""The temporal encoder: the last frame's token asks up to 7 frames what they know, and takes from their predictions what it trusts."""

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tempohand.model.attention import CrossBlock, rotary
from tempohand.model.heads import HandParameters
from tempohand.skeleton import NUM_BETAS, NUM_MANO_JOINTS

ROTARY_UNIT_S = 0.020  # one rotary position per 20 ms
# A hand's parameters in one vector, by groups that are trusted separately: 16 rotations in 6D, shape, wrist uv, log depth.
GROUPS = (*(6,) * NUM_MANO_JOINTS, NUM_BETAS, 2, 1)
PARAMETER_DIM = sum(GROUPS)
MIXING_DIM = 16


class TemporalEncoder(nn.Module):
    """Features of T frames and what the frozen heads read from each -> a change to the last frame's token, and one to its parameters.

    Queries are the last frame's, keys and values all T; positions are real times, so that dropped frames are seen as such. The change of the
    parameters has two parts: what a network makes of it all, and a mixture of the frames' own predictions with weights for every joint, which
    is how a filter would do it, but by what is seen in each frame. Every output starts at zero: Stage 2 begins exactly as Stage 1.
    """

    def __init__(self, token_dim: int, detail_dim: int, width: int, layers: int, heads: int, dropout: float = 0.0, head_dim: int = 64):
        super().__init__()
        self.token_dim = token_dim
        self.norm = nn.LayerNorm(token_dim)
        self.embed_token, self.embed_reading = nn.Linear(token_dim, width), nn.Linear(2 * PARAMETER_DIM, width)
        self.embed_detail = nn.Linear(detail_dim, width, bias=False) if detail_dim else None
        self.layers = nn.ModuleList(CrossBlock(width, heads, 2 * width, head_dim=head_dim, dropout=dropout) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)
        self.out, self.correct = nn.Linear(width, token_dim), nn.Linear(width, PARAMETER_DIM)
        self.mix = Mixture(width)
        for zero in (self.out, self.correct):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def forward(
        self,
        features: Float[Tensor, "b t f"],
        parameters: Float[Tensor, "b t p"],
        time: Float[Tensor, "b t"],
        frame_mask: Bool[Tensor, "b t"],
    ) -> tuple[Float[Tensor, "b 1 d"], Float[Tensor, "b 1 p"]]:
        """features: each frame's token, and what is known in detail of its joints. parameters: `parameter_vector` of each frame. `time` in
        seconds relative to the last frame; `frame_mask` is False for frames that do not exist."""
        difference = parameters - parameters[:, -1:]
        tokens = features[..., : self.token_dim]
        context = self.embed_token(self.norm(tokens)) + self.embed_reading(torch.cat([parameters, 3 * difference], dim=-1))
        if self.embed_detail is not None:
            context = context + self.embed_detail(features[..., self.token_dim :])
        position = time / ROTARY_UNIT_S
        times = (position[:, -1:], position)
        x = context[:, -1:]
        for layer in self.layers:
            x = layer(x, context, frame_mask, times)
        x = self.norm_out(x)
        change = self.correct(x).float() + self.mix(x, context, difference, frame_mask, times)
        return self.out(x).to(features.dtype), change


class Mixture(nn.Module):
    """An attention with one head for each group of parameters, whose values are the frames' own predictions."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query, self.key = (nn.Linear(width, MIXING_DIM * len(GROUPS), bias=False) for _ in range(2))
        self.gate = nn.Linear(width, len(GROUPS))
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.register_buffer("group", torch.repeat_interleave(torch.arange(len(GROUPS)), torch.tensor(GROUPS)), persistent=False)

    def forward(self, x: Tensor, context: Tensor, difference: Tensor, mask: Tensor, times: tuple[Tensor, Tensor]) -> Float[Tensor, "b 1 p"]:
        """The gated weighted mean of `difference` [B, T, P], each frame's parameters less the last one's."""
        query, key = (
            rotary(rearrange(y, "b t (g d) -> b g t d", d=MIXING_DIM), time)
            for y, time in ((self.query(x), times[0]), (self.key(self.norm(context)), times[1]))
        )
        score = einsum(query, key, "b g q d, b g t d -> b g t").float() * MIXING_DIM**-0.5
        weight = score.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1) * self.gate(x).float().mT
        return einsum(weight[:, self.group], difference.float(), "b p t, b t p -> b p").unsqueeze(1)


def parameter_vector(parameters: HandParameters, uv: Float[Tensor, "b t 2"], log_depth: Float[Tensor, "b t"]) -> Float[Tensor, "b t p"]:
    """What the heads say of each frame, one vector in the order of GROUPS; the wrist's uv and log depth as the last frame's crop would have
    them, so that a hand that holds still while its crop moves is seen to hold still."""
    return torch.cat([parameters.columns, parameters.shape, uv, log_depth[..., None]], dim=-1)
