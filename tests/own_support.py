"""Hands that somebody marked in a labelling tool, in the tools' own formats, written by their
documentation."""

import csv
import json
import xml.sax.saxutils as xml
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from convert_support import TrueHand, camera_matrix, picture, true_hand, write_picture

from tempohand.data.convert.convert import Conversion, unit_rows
from tempohand.data.convert.rows import Rejected, Storage
from tempohand.media.pictures import decode_picture
from tempohand.skeleton import JOINT_NAMES

WIDTH, HEIGHT = 320, 240
MATRIX = camera_matrix(WIDTH, HEIGHT, 300)
MEDIAPIPE = (
    "WRIST",
    *(f"THUMB_{end}" for end in ("CMC", "MCP", "IP", "TIP")),
    *(
        f"{finger}_{end}"
        for finger in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
        for end in ("MCP", "PIP", "DIP", "TIP")
    ),
)
WHOLEBODY = (
    "hand_root",
    *(
        f"{finger}{number}"
        for finger in ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
        for number in (1, 2, 3, 4)
    ),
)


@dataclass
class Marked:
    """A hand as it is marked: a picture's name, the side, and [21, 3] of x, y (px, integers at pixel centres)
    and v as COCO counts it."""

    picture: str
    is_right: bool
    points: np.ndarray
    names: tuple[str, ...] = JOINT_NAMES
    hand: TrueHand | None = field(default=None, repr=False)

    @property
    def side(self) -> str:
        return "right" if self.is_right else "left"

    @property
    def box(self) -> np.ndarray:
        known = self.points[self.points[:, 2] > 0, :2]
        return np.concatenate([known.min(0) - 4, known.max(0) + 4])


def marked_hands(root: Path, count: int = 10, *, folder: str = "images/") -> list[Marked]:
    """Pictures of one hand each, the third of both, below the root; and what is marked: a few joints are
    hidden, one is missing."""
    found = []
    for number in range(count):
        sides = (False, True) if number == 2 else (number % 3 != 0,)
        hands = [
            true_hand(number, is_right=right, wrist=(90 * right - 45 if len(sides) == 2 else 0, 30, 500))
            for right in sides
        ]
        name = f"{folder}hand_{number:02d}.jpg"
        write_picture(root / name, picture(hands, MATRIX, WIDTH, HEIGHT))
        for hand in hands:
            points = np.column_stack([hand.project(MATRIX).round(2), np.full(21, 2.0)])
            points[[4, 8], 2] = 1
            if number == 1:
                points[20] = 0
            found.append(Marked(name, hand.is_right, points, hand=hand))
    return found


def by_picture(hands: list[Marked]) -> dict[str, list[Marked]]:
    found: dict[str, list[Marked]] = {}
    for hand in hands:
        found.setdefault(hand.picture, []).append(hand)
    return found


def write_coco(root: Path, hands: list[Marked]) -> None:
    """One category a side, with the names of its key points."""
    names = list(by_picture(hands))
    images = [
        {"id": number + 7, "file_name": Path(name).name, "width": WIDTH, "height": HEIGHT}
        for number, name in enumerate(names)
    ]
    annotations = []
    for number, hand in enumerate(hands):
        x0, y0, x1, y1 = hand.box
        annotations.append(
            {
                "id": number,
                "image_id": names.index(hand.picture) + 7,
                "category_id": 1 + hand.is_right,
                "iscrowd": 0,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "num_keypoints": int((hand.points[:, 2] > 0).sum()),
                "keypoints": hand.points.ravel().tolist(),
            }
        )
    categories = [
        {"id": 1 + right, "name": f"{side} hand", "keypoints": list(hands[0].names), "skeleton": []}
        for right, side in enumerate(("left", "right"))
    ]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations/person_keypoints_default.json").write_text(json.dumps(content))


def write_labelme(root: Path, hands: list[Marked]) -> None:
    """A file beside each picture; (0, 0) is the picture's corner."""
    for name, own in by_picture(hands).items():
        shapes = []
        for group, hand in enumerate(own):
            box = (hand.box + 0.5).reshape(2, 2).tolist()
            shapes.append(
                {"label": f"{hand.side}_hand", "points": box, "group_id": group, "shape_type": "rectangle"}
            )
            for joint, (x, y, v) in zip(hand.names, hand.points):
                if v:
                    shape = {"label": joint, "points": [[x + 0.5, y + 0.5]], "group_id": group}
                    shapes.append(shape | {"shape_type": "point", "flags": {"hidden": bool(v == 1)}})
        content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": Path(name).name}
        content |= {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
        (root / name).with_suffix(".json").write_text(json.dumps(content))


def write_labelstudio(root: Path, hands: list[Marked]) -> None:
    """Per cent of the picture from its corner; uploads have eight hex digits before their names."""
    size = np.array([WIDTH, HEIGHT])
    tasks = []
    for number, (name, own) in enumerate(by_picture(hands).items()):
        result = []
        about = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "to_name": "image"}
        for place, hand in enumerate(own):
            x0, y0, x1, y1 = ((hand.box.reshape(2, 2) + 0.5) / size * 100).ravel()
            value = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0}
            box = {"id": f"box{place}", "type": "rectanglelabels", "from_name": "box"}
            result.append(about | box | {"value": value | {"rectanglelabels": [f"Hand-{hand.side}"]}})
            for joint, (x, y, v) in zip(hand.names, hand.points):
                if not v:
                    continue
                value = {"x": (x + 0.5) / WIDTH * 100, "y": (y + 0.5) / HEIGHT * 100, "width": 0.6}
                point = {"id": f"{place}-{joint}", "type": "keypointlabels", "from_name": "joint"}
                point |= {"parentID": f"box{place}", "value": value | {"keypointlabels": [joint]}}
                result.append(about | point)
                seen = {"id": f"{place}-{joint}", "type": "choices", "from_name": "seen"}
                result.append(about | seen | {"value": {"choices": ["hidden" if v == 1 else "visible"]}})
        upload = f"/data/upload/1/{number:08x}-{Path(name).name}"
        done = [
            {"id": 1, "was_cancelled": True, "result": []},
            {"id": 2, "was_cancelled": False, "result": result},
        ]
        tasks.append({"id": number + 1, "data": {"image": upload}, "annotations": done, "predictions": []})
    (root / "project-1-at-2026.json").write_text(json.dumps(tasks))


def write_cvat(root: Path, hands: list[Marked]) -> None:
    """Skeletons; (0, 0) is the picture's corner."""
    lines = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations>", "<version>1.1</version>"]
    for number, (name, own) in enumerate(by_picture(hands).items()):
        place = xml.quoteattr(Path(name).name)
        lines.append(f'<image id="{number}" name={place} width="{WIDTH}" height="{HEIGHT}">')
        for hand in own:
            lines.append(f'<skeleton label="{hand.side} hand" source="manual" z_order="0">')
            for joint, (x, y, v) in zip(hand.names, hand.points):
                told = f'outside="{int(v == 0)}" occluded="{int(v == 1)}"'
                lines.append(
                    f'<points label={xml.quoteattr(joint)} source="manual" {told} '
                    f'points="{x + 0.5:.2f},{y + 0.5:.2f}"></points>'
                )
            lines.append("</skeleton>")
        lines.append("</image>")
    (root / "annotations.xml").write_text("\n".join([*lines, "</annotations>"]))


def write_csv(root: Path, hands: list[Marked]) -> None:
    head = [
        "picture",
        "width",
        "height",
        "side",
        *(f"{joint}_{what}" for joint in hands[0].names for what in "xyv"),
    ]
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for hand in hands:
            cells = [[x, y, int(v)] if v else ["", "", 0] for x, y, v in hand.points.tolist()]
            writer.writerow(
                [hand.picture, WIDTH, HEIGHT, hand.side, *(cell for joint in cells for cell in joint)]
            )


WRITERS = {
    "coco_keypoints": write_coco,
    "labelme": write_labelme,
    "labelstudio": write_labelstudio,
    "cvat": write_cvat,
    "csv": write_csv,
}


class Converted(NamedTuple):
    """What a conversion makes, without writing a table: (sequence, frame) -> row with its picture as `image`
    (where it is stored), by split, and what was left out."""

    splits: dict[str, dict[tuple[str, int], dict]]
    rejected: list[Rejected]

    @property
    def rows(self) -> dict[tuple[str, int], dict]:
        return {key: row for split in self.splits.values() for key, row in split.items()}

    @property
    def reasons(self) -> list[str]:
        return sorted(one.reason for one in self.rejected)

    def of(self, hand: Marked) -> dict:
        """The row of a marked hand, by its picture and side."""
        name = f"{hand.picture.rpartition('.')[0]}/{hand.side}"
        (row,) = [row for (sequence, _), row in self.rows.items() if sequence == name]
        return row


def converted(form: str, root: Path, storage: Storage | None = None, **options) -> Converted:
    converter = Conversion(form, str(root), options=options).converter()
    splits: dict[str, dict] = {}
    rejected: list[Rejected] = []
    for unit in converter.units():
        for row in unit_rows(converter, unit, storage or Storage(), rejected):
            if not row["image"].startswith(b"path:"):
                row["image"] = decode_picture(row["image"])
            splits.setdefault(unit.splits[0], {})[row["sequence"], row["frame"]] = row
    return Converted(splits, rejected)
