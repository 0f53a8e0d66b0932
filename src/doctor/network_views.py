"""What a trained network says of a row of a table, as pictures of its own crop."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from jaxtyping import Bool, UInt8

from tempohand.assemble.data import plain_view
from tempohand.batch import ClipBatch, HandPrediction
from tempohand.data.depth_view import mask_crops
from tempohand.data.loader import ClipDataset, LeftOut, collate
from tempohand.data.table import FrameTable
from tempohand.draw import draw_heatmaps, draw_skeleton
from tempohand.geometry import denormalise_pixels
from tempohand.model.registry import load_network
from tempohand.render import rasterise, render, shade

PICTURE_PX = 300
ALBEDO = (0.96, 0.72, 0.60)
OPACITY = 0.8
OUTLINE = (60, 220, 120)  # of the labelled mask
HEATMAPS = "heatmaps"  # the term of a prediction that holds a network's own


class NetworkViews:
    """Pictures of a network's answers. checkpoint: a trained network's folder, or the name of a release; of a
    network of Stage 2 what is inside.

    Raises FileNotFoundError or ValueError where there is no network that gives hands.
    """

    def __init__(self, checkpoint: str):
        network = load_network(checkpoint, HandPrediction)
        self.network = (network.spatial_only() or network).eval()
        self.faces = self.network.hand.faces.cpu().numpy()

    def dataset(self, table: FrameTable) -> ClipDataset:
        """The table's rows as the network sees them."""
        return ClipDataset(table, plain_view(self.network.crop), 1, inputs=self.network.inputs)

    @torch.no_grad()
    def views(self, dataset: ClipDataset, row: int) -> Iterator[UInt8[np.ndarray, "s t 3"]]:
        """The predicted joints, the mesh, its outline filled beside the labelled mask's, and heat maps where
        the network has some, over the crop, in which left hands are mirrored. Nothing for a row that cannot
        be used."""
        sample = dataset.clip(row)
        if isinstance(sample, LeftOut):
            return
        batch = collate([sample])
        prediction = self.network(batch)
        picture, scale = _enlarged(batch.frames.image[0].permute(1, 2, 0).numpy())
        pixels = denormalise_pixels(prediction.joints2d[0, 0], batch.frames.size[::-1]).double().numpy()
        yield draw_skeleton(picture.copy(), (pixels + 0.5) * scale - 0.5, thickness=1.5)
        vertices = prediction.vertices[0, 0].double().numpy()
        camera = _camera(batch, scale)
        yield _mesh(picture, vertices, self.faces, camera)
        mask = dataset.table.mask(row)
        labelled = None
        if mask is not None:
            labelled = mask_crops([mask], sample.placement, batch.frames.size)[0, 0].numpy()
        seen = rasterise(vertices, self.faces, *camera, picture.shape[:2]).face >= 0
        yield _masks(picture, seen, labelled)
        logits = (prediction.terms or {}).get(HEATMAPS)
        if logits is not None:
            maps = logits.reshape(21, *logits.shape[-2:]).float()
            yield draw_heatmaps(picture, maps.flatten(1).softmax(dim=1).view_as(maps).numpy())


def _enlarged(crop: UInt8[np.ndarray, "h w 3"]) -> tuple[UInt8[np.ndarray, "s t 3"], float]:
    scale = PICTURE_PX / max(crop.shape[:2])
    size = (round(crop.shape[1] * scale), round(crop.shape[0] * scale))
    return cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA), scale


def _camera(batch: ClipBatch, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Focal length and principal point, px of the enlarged crop."""
    focal, princpt = (part[0, -1].double().numpy() for part in (batch.focal, batch.princpt))
    return focal * scale, (princpt + 0.5) * scale - 0.5


def _mesh(
    picture: UInt8[np.ndarray, "h w 3"], vertices: np.ndarray, faces: np.ndarray, camera: tuple
) -> UInt8[np.ndarray, "h w 3"]:
    ground = picture.astype(np.float32) / 255
    colours = shade(vertices, faces, ALBEDO)
    size = picture.shape[:2]
    colour = render(vertices, faces, colours, *camera, size, background=ground, antialias=2)
    return np.clip((ground + OPACITY * (colour - ground)) * 255 + 0.5, 0, 255).astype(np.uint8)


def _masks(
    picture: UInt8[np.ndarray, "h w 3"], seen: Bool[np.ndarray, "h w"], labelled: np.ndarray | None
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture dimmed outside the predicted hand, the labelled one outlined."""
    shown = np.where(seen[..., None], picture, picture // 4)
    if labelled is not None:
        large = cv2.resize(labelled.astype(np.uint8), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, outlines, -1, OUTLINE, 1, cv2.LINE_AA)
    return shown
