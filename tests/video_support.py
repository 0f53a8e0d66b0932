"""Videos written by the tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from einops import rearrange
from torch import nn


def moving_pictures(count: int, width: int = 120, height: int = 90, seed: int = 0) -> list[np.ndarray]:
    """Smooth coloured noise that changes over time."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, count + 2, 6, 8)).astype(np.float32))
    fine = nn.functional.interpolate(
        coarse, size=(count, height, width), mode="trilinear", align_corners=False
    )[0]
    return [
        np.ascontiguousarray(picture)
        for picture in rearrange(fine, "c t h w -> t h w c").round().to(torch.uint8).numpy()
    ]


def write_video(
    path: Path,
    pictures: list[np.ndarray],
    *,
    codec: str = "ffv1",
    pix_fmt: str = "bgr0",
    fps: int = 30,
    pts=None,
    aspect=None,
) -> Path:
    """A video of the pictures: lossless by default (.mkv). pts: place of each frame in units of 1 / fps.
    aspect: of a pixel."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.codec_context.sample_aspect_ratio = pix_fmt, aspect or Fraction(1)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index if pts is None else pts[index], Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
