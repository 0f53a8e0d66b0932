"""The temporal encoder: the last frame's token asks up to 7 frames what they know, and takes from their
predictions what it trusts."""

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tempohand.model.attention import Mlp, attend, rotary
from tempohand.model.heads import HandParameters
from tempohand.model.spatial import SpatialFeatures
from tempohand.skeleton import NUM_BETAS, NUM_MANO_JOINTS

ROTARY_UNIT_S = 0.020  # one rotary position per 20 ms
# A hand's parameters in one vector, by groups that are trusted separately: 16 rotations in 6D, shape, wrist
# uv, log depth.
GROUPS = (*(6,) * NUM_MANO_JOINTS, NUM_BETAS, 2, 1)
PARAMETER_DIM = sum(GROUPS)
MIXING_DIM, HEAD_DIM = 16, 64
RIDGE = 0.25  # squared rotary units: where the trusted frames are hardly apart in time a line has no slope


def _zero_linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class TemporalEncoder(nn.Module):
    """Features of T frames and what the frozen heads read from each -> a change to the last frame's token,
    and one to its parameters.

    Queries are the last frame's, keys and values all T; positions are real times, so that dropped frames are
    seen as such. The change of the parameters has two parts: what a network makes of it all, and a mixture of
    the frames' own predictions with weights for every joint, which is how a filter would do it, but by what
    is seen in each frame. Every output starts at zero: Stage 2 begins exactly as Stage 1. trend:
    PredictionMixture's.

    only_mixed: the hand is a mixture of what Stage 1 says in the frames and nothing else; a single frame's
    is Stage 1's. For a Stage 1 that knows more hands than the videos that Stage 2 learns from.
    """

    def __init__(
        self,
        token_dim: int,
        detail_dim: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float = 0.0,
        trend: bool = False,
        only_mixed: bool = False,
    ):
        super().__init__()
        self.norm = nn.LayerNorm(token_dim)
        self.embed_token, self.embed_reading = (
            nn.Linear(token_dim, width),
            nn.Linear(2 * PARAMETER_DIM, width),
        )
        self.embed_detail = nn.Linear(detail_dim, width, bias=False) if detail_dim else None
        self.norm_context, self.heads = nn.LayerNorm(width), heads
        # The context is the same for every layer: all their keys and values come from one product.
        self.key_value = nn.Linear(width, 2 * layers * heads * HEAD_DIM, bias=False)
        self.layers = nn.ModuleList(QueryBlock(width, heads, HEAD_DIM, dropout) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)
        self.mix = PredictionMixture(width, trend)
        self.out = None if only_mixed else _zero_linear(width, token_dim)
        self.correct = None if only_mixed else _zero_linear(width, PARAMETER_DIM)

    def forward(
        self,
        features: SpatialFeatures,
        parameters: Float[Tensor, "b t p"],
        time: Float[Tensor, "b t"],
        frame_mask: Bool[Tensor, "b t"],
    ) -> tuple[Float[Tensor, "b 1 d"], Float[Tensor, "b 1 p"]]:
        """The change of the last frame's token, and of its parameters.

        features: of each frame [B, T]. parameters: `parameter_vector` of each frame. time: s, relative to the
        last frame. frame_mask: False for frames that do not exist.
        """
        difference = parameters - parameters[:, -1:]
        context = self.embed_token(self.norm(features.token)) + self.embed_reading(
            torch.cat([parameters, 3 * difference], dim=-1)
        )
        if self.embed_detail is not None:
            context = context + self.embed_detail(features.readings.flatten(-2))
        # Counted from the last frame, whose own position is 0: queries need no rotation.
        position = (time - time[:, -1:]) / ROTARY_UNIT_S
        context = self.norm_context(context)
        key, value = rearrange(
            self.key_value(context), "b t (kv l h d) -> kv l b h t d", kv=2, l=len(self.layers), h=self.heads
        )
        key = rotary(rearrange(key, "l b h t d -> b (l h) t d"), position).unflatten(
            1, (len(self.layers), -1)
        )
        x, mask = context[:, -1:], frame_mask[:, None, None]
        for number, layer in enumerate(self.layers):
            x = layer(x, key[:, number], value[number], mask)
        with torch.autocast(
            x.device.type, enabled=False
        ):  # what is added to a hand's parameters, in their own precision
            x, context = self.norm_out(x.float()), context.float()
            mixed = self.mix(x, context, difference, frame_mask, position)
            if self.out is None or self.correct is None:
                return torch.zeros_like(features.token[:, -1:]).float(), mixed
            return self.out(x), self.correct(x) + mixed


class QueryBlock(nn.Module):
    """One query [B, 1, W] over given keys and values, then an MLP; pre-norm."""

    def __init__(self, width: int, heads: int, head_dim: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.norm, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.out = (
            nn.Linear(width, heads * head_dim, bias=False),
            nn.Linear(heads * head_dim, width),
        )
        self.mlp, self.dropout = Mlp(width, 2 * width), nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "b 1 w"], key: Tensor, value: Tensor, mask: Tensor
    ) -> Float[Tensor, "b 1 w"]:
        """key, value: [B, heads, T, head_dim], the keys turned by time; `mask` is False for frames that do
        not exist."""
        query = rearrange(self.query(self.norm(x)), "b n (h d) -> b h n d", h=self.heads)
        x = x + self.dropout(self.out(rearrange(attend(query, key, value, mask), "b h n d -> b n (h d)")))
        return x + self.dropout(self.mlp(self.norm_mlp(x)))


class PredictionMixture(nn.Module):
    """An attention with one head for each group of parameters, whose values are the frames' own
    predictions.

    Without `trend` it gives their weighted mean, which comes late where a hand moves; with it the end, at the
    last frame, of the line through them that fits best under the same weights (a local linear regression:
    Cleveland, Robust Locally Weighted Regression, 1979), which does not while the velocity is constant.
    """

    group: Int[Tensor, "109"]

    def __init__(self, width: int, trend: bool = False):
        super().__init__()
        self.trend = trend
        self.query, self.key = (nn.Linear(width, MIXING_DIM * len(GROUPS), bias=False) for _ in range(2))
        self.gate = nn.Linear(width, len(GROUPS))
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.register_buffer(
            "group",
            torch.repeat_interleave(torch.arange(len(GROUPS)), torch.tensor(GROUPS)),
            persistent=False,
        )

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        difference: Tensor,
        frame_mask: Tensor,
        position: Float[Tensor, "b t"],
    ) -> Float[Tensor, "b 1 p"]:
        """The gated mixture of `difference` [B, T, P], each frame's parameters less the last one's; position:
        of the frames in time, 0 for the last, in rotary units."""
        query, key = (
            rearrange(y, "b t (g d) -> b g t d", d=MIXING_DIM) for y in (self.query(x), self.key(context))
        )
        key = rotary(key, position)
        score = einsum(query, key, "b g q d, b g t d -> b g t") * MIXING_DIM**-0.5
        weight = score.masked_fill(~frame_mask[:, None], -torch.inf).softmax(dim=-1)
        if self.trend:
            weight = _of_the_lines_end(weight, position.to(weight)[:, None])
        weight = weight * self.gate(x).mT
        return einsum(weight[:, self.group], difference, "b p t, b t p -> b p").unsqueeze(1)


def _of_the_lines_end(
    weight: Float[Tensor, "b g t"], position: Float[Tensor, "b #g t"]
) -> Float[Tensor, "b g t"]:
    """The weights, of the same sum, with which values give the regression line's value at position 0."""
    mean = (weight * position).sum(dim=-1, keepdim=True)
    away = position - mean
    variance = (weight * away.square()).sum(dim=-1, keepdim=True)
    return weight * (1 - mean * away / (variance + RIDGE))


def parameter_vector(
    parameters: HandParameters, uv: Float[Tensor, "b t 2"], log_depth: Float[Tensor, "b t"]
) -> Float[Tensor, "b t p"]:
    """What the heads say of each frame, one vector in the order of GROUPS; the wrist's uv and log depth as
    the last frame's crop would have them, so that a hand that holds still while its crop moves is seen to
    hold still."""
    return torch.cat([parameters.columns, parameters.shape, uv, log_depth[..., None]], dim=-1)
