"""A page of random rows of a frame table, to see with one's own eyes that labels and
pictures belong together."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from tqdm import tqdm

from tempohand.data.addresses import Address, Place, on_disk
from tempohand.data.addresses import place as place_of
from tempohand.data.consistency import HandModels, project, valid
from tempohand.data.convert.residuals import residuals
from tempohand.data.mixture import hand_of
from tempohand.data.pictures import BadPicture
from tempohand.data.table import FrameTable, read_index
from tempohand.doctor.network_views import NetworkViews
from tempohand.draw import (
    depth_picture,
    draw_heatmaps,
    draw_skeleton,
    finger_colours,
    gaussian_maps,
    write_names,
)
from tempohand.evaluation.report.page import TableCell, TableRow, jpeg_uri, render_page
from tempohand.hand.layer import HandLayer
from tempohand.render import render, shade
from tempohand.skeleton import FINGER_COLOURS, FINGERTIPS, JOINT_NAMES, WRIST
from tempohand.writing import write_whole

PICTURE_PX = 300
NAMED = {WRIST: "wrist"} | {tip: JOINT_NAMES[tip].split("_")[0] for tip in FINGERTIPS}
LABELLED = (60, 220, 120)
PROJECTED = (255, 90, 60)
BOX = (80, 160, 255)
ALBEDO = (0.72, 0.78, 0.92)
OPACITY = 0.75
HEATMAP_SIGMA = 1 / 64  # of the picture's edge, of the heat maps of labels
DEPTH_MARGIN_MM = 60.0  # before and behind a hand that its depth is drawn over
JPEG_QUALITY = 88
TEMPLATES = Path(__file__).with_name("templates")
MESH_NOT_DRAWN = (
    "not drawn: the hand parameters belong to a MANO file, --hand=<folder of the MANO files> draws them"
)


def inspect_table(
    root: str | Place,
    splits: list[str] | None = None,
    *,
    rows: int = 24,
    seed: int = 0,
    hand: str | None = None,
    out: str | Path | None = None,
    checkpoint: str | None = None,
) -> Path:
    """Writes the page and returns its path. rows: how many of each split, drawn by `seed`. checkpoint: of a
    network whose answers are shown beside the labels (`NetworkViews`).

    Raises FileNotFoundError or ValueError: no table or hand model there, an unknown split, no row asked for.
    """
    place = place_of(root)
    if out is None and isinstance(place, Address):
        raise ValueError(f"'{root}' is an address, where no page is written: say where as `out`")
    index, out = read_index(place), on_disk(out or on_disk(place) / "inspect.html")
    if rows < 1:
        raise ValueError(f"`rows` is at least 1, not {rows}")
    hands = _hands(index["about"], hand)
    network = NetworkViews(checkpoint) if checkpoint else None
    names = dict.fromkeys(splits or index["splits"])
    page = render_page(
        "inspect.html",
        TEMPLATES,
        title=f"{index['about'].get('title', place.name)}: random rows",
        subtitle=f"Rows of the frame table '{root}', drawn with seed {seed}.",
        facts=_facts(index["about"], hands is None),
        fingers=list(FINGER_COLOURS.items()),
        colours=[(PROJECTED, "3D joints, projected"), (BOX, "box"), (LABELLED, "2D joints over depth")],
        splits=[_split(FrameTable(place, name), rows, seed, hands, network) for name in names],
    )
    write_whole(out, page)
    return out


def _hands(about: dict, hand: str | None) -> HandModels | None:
    """The hand model that the rows' parameters belong to; None where it was not given."""
    return None if hand is None and hand_of(about) == "mano" else HandModels(hand)


def _facts(about: dict, no_hand: bool) -> list[tuple[str, str]]:
    """What is known of the table, by name."""
    known = [(name, str(about[name])) for name in ("title", "licence", "url", "root") if name in about]
    rejected = [f"{reason} {count:,}" for reason, count in about.get("rejected", {}).items()]
    known.append(("left out", ", ".join(rejected) or "nothing"))
    return known + [("mesh", MESH_NOT_DRAWN)] * no_hand


def _split(
    frames: FrameTable, count: int, seed: int, hands: HandModels | None, network: NetworkViews | None
) -> dict:
    """What inspect.html shows of a split: residuals of the drawn rows, and the rows."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(frames))[:count])
    labels = frames.labels(rows)
    found = residuals(labels, hands)
    seen = network.dataset(frames) if network else None
    shown = []
    for place, row in enumerate(tqdm(rows.tolist(), desc=frames.split, unit="row")):
        about = frames.about_row(row)
        entry = {"sequence": about["sequence"], "frame": about["frame"], "error": "", "views": []}
        try:
            label = {name: column[place] for name, column in labels.items()}
            pictures = [
                *views(frames.image(row), label, hands),
                *measured(frames.image(row), label, frames.depth(row), frames.mask(row)),
                *(network.views(seen, row) if network and seen else ()),
            ]
            entry["views"] = [jpeg_uri(picture, JPEG_QUALITY) for picture in pictures]
        except (BadPicture, FileNotFoundError) as error:
            entry["error"] = str(error)
        shown.append(entry | {"labels": _sentence(labels, found, place)})
    return {
        "name": frames.split,
        "note": f"{len(rows)} of {len(frames):,} rows.",
        "residuals": [
            TableRow(name, [TableCell(f"{np.nanmedian(values):.3f}"), TableCell(f"{np.nanmax(values):.3f}")])
            for name, values in found.items()
            if np.isfinite(values).any()
        ],
        "rows": shown,
    }


def _sentence(labels: dict[str, np.ndarray], found: dict[str, np.ndarray], place: int) -> str:
    parts = ["right" if labels["is_right"][place] else "left", f"{labels['joints2d_mask'][place].sum()} 2D"]
    parts.append(f"{labels['joints_mask'][place].sum()} 3D")
    if labels["joints_mask"][place, 0] and labels["has_camera"][place]:
        parts.append(f"{labels['joints'][place, 0, 2]:.0f} mm away")
    if np.isfinite(labels["hidden"][place]):
        parts.append(f"{labels['hidden'][place]:.0%} hidden")
    parts += [
        f"{name.replace('_', ' ')} {values[place]:.2f}"
        for name, values in found.items()
        if np.isfinite(values[place])
    ]
    return ", ".join(parts)


def views(
    picture: UInt8[np.ndarray, "h w 3"], row: dict, hands: HandModels | None
) -> Iterable[UInt8[np.ndarray, "s t 3"]]:
    """A row's picture with box and 2D joints, a colour a finger, wrist and tips by name; with their heat
    maps; with the projected 3D joints; with the mesh of its hand parameters: those that it has labels
    for."""
    scale, large = _enlarged(picture)

    def moved(points):
        return (points + 0.5) * scale - 0.5

    labelled = large.copy()
    low, high = (
        tuple(np.round(moved(corner)).astype(int).tolist()) for corner in (row["box"][:2], row["box"][2:])
    )
    cv2.rectangle(labelled, low, high, BOX, 1, cv2.LINE_AA)
    one = {name: np.asarray(value)[None] for name, value in row.items()}
    joints2d = moved(valid(one, "joints2d")[0])
    draw_skeleton(labelled, joints2d, finger_colours(), 1.5)
    yield write_names(labelled, joints2d, NAMED)
    if np.isfinite(joints2d).any():
        yield draw_heatmaps(large, gaussian_maps(joints2d, large.shape[1::-1], PICTURE_PX * HEATMAP_SIGMA))
    if row["has_camera"] and row["joints_mask"].any():
        yield draw_skeleton(large.copy(), moved(project(one)[0]), PROJECTED, 1.5)
    if row["has_camera"] and row["has_hand"] and hands is not None:
        yield _mesh(
            large,
            row,
            hands.right if row["is_right"] else hands.left,
            row["focal"] * scale,
            moved(row["princpt"]),
        )


def measured(
    picture: UInt8[np.ndarray, "h w 3"],
    row: dict,
    depth: Float[np.ndarray, "h w"] | None,
    mask: Bool[np.ndarray, "h w"] | None,
) -> Iterable[UInt8[np.ndarray, "s t 3"]]:
    """A row's depth in colours, with its 2D joints, and its picture dimmed outside its mask: those that it
    has. Colours go from before to behind the labelled hand, or over all of the depth where none is known."""
    scale, large = _enlarged(picture)
    one = {name: np.asarray(value)[None] for name, value in row.items()}
    if depth is not None:
        z = valid(one, "joints")[0, :, 2]
        if np.isfinite(z).any():
            near, far = np.nanmin(z) - DEPTH_MARGIN_MM, np.nanmax(z) + DEPTH_MARGIN_MM
        else:
            near, far = np.percentile(depth[depth > 0], [2, 98]) if depth.any() else (0.0, 1.0)
        _, colours = _enlarged(depth_picture(depth, float(near), float(far)), cv2.INTER_NEAREST)
        joints = (valid(one, "joints2d")[0] + 0.5) * scale - 0.5
        yield draw_skeleton(np.ascontiguousarray(colours), joints, LABELLED, 0.75)
    if mask is not None:
        _, seen = _enlarged(mask.astype(np.uint8), cv2.INTER_NEAREST)
        yield np.where(seen[..., None] > 0, large, large // 4)


def _enlarged(picture: np.ndarray, enlarging: int = cv2.INTER_CUBIC) -> tuple[float, np.ndarray]:
    """The scale to PICTURE_PX, and the picture in it; without mixing where `enlarging` does not."""
    scale = PICTURE_PX / max(picture.shape[:2])
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    shrinking = cv2.INTER_AREA if enlarging == cv2.INTER_CUBIC else enlarging
    return scale, cv2.resize(picture, size, interpolation=shrinking if scale < 1 else enlarging)


def _mesh(
    picture: np.ndarray, row: dict, layer: HandLayer, focal: np.ndarray, princpt: np.ndarray
) -> np.ndarray:
    with torch.no_grad():
        values = (torch.from_numpy(np.asarray(row[name], np.float32)) for name in ("pose", "shape", "trans"))
        vertices, faces = layer(*values).vertices.numpy(), layer.faces.numpy()
    ground = picture.astype(np.float32) / 255
    colour = render(
        vertices,
        faces,
        shade(vertices, faces, ALBEDO),
        focal,
        princpt,
        picture.shape[:2],
        background=ground,
        antialias=2,
    )
    return np.clip((ground + OPACITY * (colour - ground)) * 255 + 0.5, 0, 255).astype(np.uint8)
