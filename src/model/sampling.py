"""Maps over crops, read at places of the crops."""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from tempohand.geometry import beside


def sample(
    maps: Float[Tensor, "n c h w"],
    places: Float[Tensor, "n v 2"],
    size: tuple[int, int],
    mode: str = "bilinear",
) -> Float[Tensor, "n v c"]:
    """What a map over crops of `size` (height, width) px holds at places of the crops (px / (W, H) - 0.5,
    pixel centres at integers), whatever the map's own raster; the edge's values beyond it.

    Cells of a map lie side by side from one edge of the crop to the other, and the first pixel's centre is
    half a pixel from the edge; grid_sample without align_corners counts edges from -1 to 1, x first.
    """
    grid = 2 * places + 1 / beside(places, size[::-1])
    sampled = F.grid_sample(maps, grid[:, :, None], mode=mode, padding_mode="border", align_corners=False)
    return rearrange(sampled, "n c v 1 -> n v c")
