"""Pre-norm attention blocks, with rotary encoding of real time where it is asked for."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

ROTARY_BASE = 10_000.0


def rotary_turns(
    position: Float[Tensor, "b t"], dim: int
) -> tuple[Float[Tensor, "b 1 t f 1"], Float[Tensor, "b 1 t f 2"]]:
    """What `rotary` turns vectors of `dim` numbers by: cosines, and sines with their signs, of `dim` / 2
    angles. position: may be negative and real."""
    half = dim // 2
    frequency = ROTARY_BASE ** (-torch.arange(half, device=position.device, dtype=torch.float32) / half)
    angle = (position.float()[..., None] * frequency)[:, None, ..., None]
    sine = angle.sin()
    return angle.cos(), torch.cat([-sine, sine], dim=-1)


def rotary(
    x: Float[Tensor, "b heads t d"], turns: tuple[Float[Tensor, "b 1 t f 1"], Float[Tensor, "b 1 t f 2"]]
) -> Float[Tensor, "b heads t d"]:
    """Rotary position encoding on interleaved pairs (Su et al., RoFormer, 2021); float32 inside."""
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    cosine, sine = turns
    return torch.addcmul(pairs * cosine, pairs.flip(-1), sine).flatten(-2).to(x.dtype)


def attention_kernel(x: Tensor) -> AbstractContextManager:
    """Where attention over x is computed: the CPU's fused kernel is twice as slow backward."""
    return sdpa_kernel(SDPBackend.MATH) if x.is_cpu and torch.is_grad_enabled() else nullcontext()


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention [b, heads, n, d]; `mask` is added to the scores."""
    with attention_kernel(query):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class Attention(nn.Module):
    """Multi-head attention of x over a context; without one, over x."""

    def __init__(self, dim: int, heads: int, context_dim: int | None = None, head_dim: int = 64):
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.query = nn.Linear(dim, inner, bias=False)
        self.key_value = nn.Linear(context_dim or dim, 2 * inner, bias=False)
        self.out = nn.Linear(inner, dim)

    def forward(
        self, x: Float[Tensor, "b n d"], context: Float[Tensor, "b m c"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """x after attention to every element of the context, without a residual."""
        key, value = self.key_value(x if context is None else context).chunk(2, dim=-1)
        query, key, value = (
            rearrange(y, "b n (h d) -> b h n d", h=self.heads) for y in (self.query(x), key, value)
        )
        return self.out(rearrange(attend(query, key, value), "b h n d -> b n (h d)"))


class Mlp(nn.Sequential):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int):
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))


class CrossBlock(nn.Module):
    """x + cross-attention over a context, then + MLP, both pre-norm; `self_attention` adds one over x before
    them."""

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp: int,
        context_dim: int | None = None,
        head_dim: int = 64,
        dropout: float = 0.0,
        self_attention: bool = False,
    ):
        super().__init__()
        self.norm_self = nn.LayerNorm(dim) if self_attention else None
        self.attend_self = Attention(dim, heads, head_dim=head_dim) if self_attention else None
        self.norm_cross = nn.LayerNorm(dim)
        self.norm_context = nn.LayerNorm(context_dim or dim)
        self.norm_mlp = nn.LayerNorm(dim)
        self.attend = Attention(dim, heads, context_dim, head_dim)
        self.mlp = Mlp(dim, mlp)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "b n d"], context: Float[Tensor, "b m c"]) -> Float[Tensor, "b n d"]:
        """x with what it gathered from the context."""
        if self.attend_self is not None and self.norm_self is not None:
            x = x + self.dropout(self.attend_self(self.norm_self(x)))
        x = x + self.dropout(self.attend(self.norm_cross(x), self.norm_context(context)))
        return x + self.dropout(self.mlp(self.norm_mlp(x)))
