"""A page of random rows of a frame table, to see with one's own eyes that labels and
pictures belong together."""

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from tqdm import tqdm

from tempohand.data.consistency import Hands, project, valid
from tempohand.data.convert.residuals import residuals
from tempohand.data.mixture import hand_of
from tempohand.data.pictures import BadPicture
from tempohand.data.table import FrameTable, read_index
from tempohand.draw import draw_skeleton
from tempohand.evaluation.report.page import card, document, section, table
from tempohand.hand.layer import HandLayer
from tempohand.render import render, shade
from tempohand.writing import write_whole

PICTURE_PX = 300
LABELLED = (60, 220, 120)
PROJECTED = (255, 90, 60)
BOX = (80, 160, 255)
ALBEDO = (0.72, 0.78, 0.92)
OPACITY = 0.75
STYLE = """<style>
.rows { display: grid; grid-template-columns: repeat(auto-fill, minmax(480px, 1fr)); gap: 12px; }
.rows .card { margin: 0; font-size: 12.5px; } .views { display: flex; gap: 4px; margin-bottom: 6px; }
.views img { width: calc((100% - 8px) / 3); display: block; border-radius: 6px; object-fit: contain; }
.rows b { font-weight: 600; }
</style>"""


def inspect_table(
    root: str | Path,
    splits: list[str] | None = None,
    *,
    rows: int = 24,
    seed: int = 0,
    hand: str | None = None,
    out: str | Path | None = None,
) -> Path:
    """Writes the page and returns its path. rows: how many of each split, drawn by `seed`.

    Raises FileNotFoundError or ValueError: no table or hand model there, an unknown split, no row asked for.
    """
    index, root = read_index(root), Path(root)
    if rows < 1:
        raise ValueError(f"`rows` is at least 1, not {rows}")
    hands = _hands(index["about"], hand)
    body = [STYLE, _about(index["about"], hands is None)]
    for split in dict.fromkeys(splits or index["splits"]):
        body.append(_split(FrameTable(root, split), rows, seed, hands))
    out = Path(out or root / "inspect.html")
    title = index["about"].get("title", root.name)
    write_whole(
        out,
        document(f"{title}: random rows", f"Rows of the frame table '{root}', drawn with seed {seed}.", body),
    )
    return out


def _hands(about: dict, hand: str | None) -> Hands | None:
    """The hand model that the rows' parameters belong to; None where it was not given."""
    return None if hand is None and hand_of(about) == "mano" else Hands(hand)


def _about(about: dict, no_hand: bool) -> str:
    known = [(name, str(about[name])) for name in ("title", "licence", "url", "root") if name in about]
    known += [
        (
            "left out",
            ", ".join(f"{reason} {count:,}" for reason, count in about.get("rejected", {}).items())
            or "nothing",
        )
    ]
    if no_hand:
        known.append(
            (
                "mesh",
                "not drawn: the hand parameters belong to a MANO file, --hand=<folder of the MANO "
                "files> draws them",
            )
        )
    entries = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in known)
    colours = [(LABELLED, "2D joints as labelled"), (PROJECTED, "3D joints, projected"), (BOX, "box")]
    legend = "".join(
        f'<span class="dot" style="background: rgb{colour}"></span>{name}&emsp;' for colour, name in colours
    )
    return card(f"<dl>{entries}</dl><p>{legend}</p>")


def _split(frames: FrameTable, count: int, seed: int, hands: Hands | None) -> str:
    rows = np.sort(np.random.default_rng(seed).permutation(len(frames))[:count])
    labels = frames.labels(rows)
    found = residuals(labels, hands)
    figures = [
        (name, [f"<td>{np.nanmedian(values):.3f}</td><td>{np.nanmax(values):.3f}</td>"])
        for name, values in found.items()
        if np.isfinite(values).any()
    ]
    cards = []
    for place, row in enumerate(tqdm(rows.tolist(), desc=frames.split, unit="row")):
        about = frames.about_row(row)
        caption = (
            f"<b>{escape(str(about['sequence']))}</b> frame {about['frame']}, "
            f"{_sentence(labels, found, place)}"
        )
        try:
            pictures = views(
                frames.image(row), {name: column[place] for name, column in labels.items()}, hands
            )
            cards.append(card(f'<div class="views">{"".join(map(_image, pictures))}</div>{caption}'))
        except (BadPicture, FileNotFoundError) as error:
            cards.append(card(f"{escape(str(error))}<br>{caption}"))
    note = f"{len(rows)} of {len(frames):,} rows."
    return section(
        frames.split,
        note,
        card(table(["of these rows", "median", "most"], figures)),
        f'<div class="rows">{"".join(cards)}</div>',
    )


def _sentence(labels: dict[str, np.ndarray], found: dict[str, np.ndarray], place: int) -> str:
    parts = ["right" if labels["is_right"][place] else "left", f"{labels['joints2d_mask'][place].sum()} 2D"]
    parts.append(f"{labels['joints_mask'][place].sum()} 3D")
    if labels["joints_mask"][place, 0] and labels["has_camera"][place]:
        parts.append(f"{labels['joints'][place, 0, 2]:.0f} mm away")
    parts += [
        f"{name.replace('_', ' ')} {values[place]:.2f}"
        for name, values in found.items()
        if np.isfinite(values[place])
    ]
    return ", ".join(parts)


def views(
    picture: UInt8[np.ndarray, "h w 3"], row: dict, hands: Hands | None
) -> Iterable[UInt8[np.ndarray, "s t 3"]]:
    """A row's picture with box and 2D joints; with the projected 3D joints; with the mesh of its hand
    parameters: those that it has labels for."""
    scale = PICTURE_PX / max(picture.shape[:2])
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    large = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)

    def moved(points):
        return (points + 0.5) * scale - 0.5

    labelled = large.copy()
    low, high = (
        tuple(np.round(moved(corner)).astype(int).tolist()) for corner in (row["box"][:2], row["box"][2:])
    )
    cv2.rectangle(labelled, low, high, BOX, 1, cv2.LINE_AA)
    one = {name: np.asarray(value)[None] for name, value in row.items()}
    yield draw_skeleton(labelled, moved(valid(one, "joints2d")[0]), LABELLED, 1.5)
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


def _image(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    code = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(code.tobytes()).decode()}">'
