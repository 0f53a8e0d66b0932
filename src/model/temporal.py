"""The temporal encoder: the last frame's token asks up to 7 frames what they know, and takes from their
predictions what it trusts."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tempohand.model.attention import Mlp, attend, rotary, rotary_turns
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
        turns = rotary_turns(position, HEAD_DIM)
        context = self.norm_context(context)
        # [2, b, layers x heads, t, d]
        pairs = self.key_value(context).view(*context.shape[:2], 2, -1, HEAD_DIM)
        key, value = pairs.permute(2, 0, 3, 1, 4)
        keys, values = rotary(key, turns).split(self.heads, dim=1), value.split(self.heads, dim=1)
        mask = torch.zeros_like(frame_mask, dtype=key.dtype).masked_fill(~frame_mask, -torch.inf)
        x = context[:, -1]
        for layer, its_keys, its_values in zip(self.layers, keys, values):
            x = layer(x, its_keys, its_values, mask[:, None, None])
        # What is added to a hand's parameters is computed in their own precision.
        with torch.autocast(x.device.type, enabled=False):
            x, context = self.norm_out(x.float()), context.float()
            mixed = self.mix(x, context, difference, mask.float(), position, turns)[:, None]
            if self.out is None or self.correct is None:
                return torch.zeros_like(features.token[:, -1:]).float(), mixed
            return self.out(x)[:, None], self.correct(x)[:, None] + mixed


class QueryBlock(nn.Module):
    """One query [B, W] over given keys and values, then an MLP; pre-norm."""

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
        self, x: Float[Tensor, "b w"], key: Tensor, value: Tensor, mask: Float[Tensor, "b 1 1 t"]
    ) -> Float[Tensor, "b w"]:
        """key, value: [B, heads, T, head_dim], the keys turned by time; `mask` is added to the scores: 0,
        -inf for frames that do not exist."""
        query = self.query(self.norm(x)).view(x.shape[0], self.heads, 1, -1)
        x = x + self.dropout(self.out(attend(query, key, value, mask).flatten(1)))
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
        x: Float[Tensor, "b w"],
        context: Float[Tensor, "b t w"],
        difference: Float[Tensor, "b t p"],
        mask: Float[Tensor, "b t"],
        position: Float[Tensor, "b t"],
        turns: tuple[Tensor, Tensor],
    ) -> Float[Tensor, "b p"]:
        """The gated mixture of `difference`, each frame's parameters less the last one's; mask: 0, -inf for
        frames that do not exist; position: of the frames in time, 0 for the last, in rotary units; turns:
        `rotary_turns` of it for HEAD_DIM."""
        query = self.query(x).view(x.shape[0], -1, MIXING_DIM, 1)
        key = self.key(context).view(*context.shape[:2], -1, MIXING_DIM).transpose(1, 2)
        # Shorter vectors turn at some of the rates of longer ones.
        every = HEAD_DIM // MIXING_DIM
        key = rotary(key, (turns[0][..., ::every, :], turns[1][..., ::every, :]))
        score = (key @ query)[..., 0] * MIXING_DIM**-0.5
        weight = (score + mask[:, None]).softmax(dim=-1)
        if self.trend:
            weight = _of_the_lines_end(weight, position.to(weight)[:, None])
        weight = weight * self.gate(x)[..., None]
        return (weight[:, self.group].mT * difference).sum(dim=1)


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
