"""Label Studio's export "JSON" (labelstud.io/guide/task_format; KeyPointLabels, RectangleLabels).

    NAME.json: tasks with data (image: where the picture is), file_upload, annotations: result

A result is of type keypointlabels (value: x, y in per cent of the picture, keypointlabels: the joint) or
rectanglelabels (value: x, y, width, height in per cent). Points whose parentID is a rectangle's id are its
hand's; without that all points of a picture are one hand, or both where their names tell sides. The
rectangle's label tells the side, too. A choice `hidden` or `occluded` for a point is kept. Of several
annotations of a task the last counts. (0, 0) is the picture's corner.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tempohand.data.convert.own_labels import OwnLabels
from tempohand.data.convert.own_marks import LooseBox, LoosePoint, Mark, MarkedPicture, hands_of_groups
from tempohand.data.convert.read import read_json

HIDDEN = {"hidden", "occluded"}
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the names of uploaded files


class LabelStudio(OwnLabels):
    """All .json files of the folder that are lists of tasks."""

    name = "labelstudio"
    title = "Label Studio"
    missing = (
        "has no .json that Label Studio exported as JSON (tasks with data and annotations; not JSON-MIN)"
    )
    corner = 0.5

    def label_files(self) -> list[Path]:
        return sorted(self.root.glob("*.json"))

    def marked(self, path: Path) -> Iterator[MarkedPicture]:
        tasks = read_json(path, remedy="export it again")
        if not isinstance(tasks, list) or not all(_is_task(one) for one in tasks):
            return  # another file
        files = {path.name for path in self.root.rglob("*")}
        for task in tasks:
            done = [one for one in task.get("annotations", []) if not one.get("was_cancelled")]
            if not done or not done[-1].get("result"):
                continue
            name = _file(task, files)
            try:
                yield _picture(name, done[-1]["result"])
            except (KeyError, ValueError, TypeError, IndexError) as error:
                problem = f"task {task.get('id')}: {type(error).__name__}: {error}"
                yield MarkedPicture(name, (), problem=problem)


def _is_task(one: Any) -> bool:
    return isinstance(one, dict) and {"data", "annotations"} <= one.keys()


def _file(task: dict[str, Any], files: set[str]) -> str:
    """The picture's name: an address's last part, a local file's path; an upload's own name where the folder
    has the file under that."""
    address = task["data"].get("image") or next(
        (value for value in task["data"].values() if isinstance(value, str)), ""
    )
    parts = urlsplit(address)
    path = unquote(parse_qs(parts.query).get("d", [parts.path])[0]).lstrip("/")
    folder, _, name = path.rpartition("/")
    own = _UPLOAD.sub("", name)
    return own if name not in files and own in files else "/".join(filter(None, (folder, name)))


def _picture(name: str, result: list[dict]) -> MarkedPicture:
    points, boxes = [], []
    size = None
    hidden = {one["id"] for one in result if HIDDEN & {word.lower() for word in _choices(one)}}
    told = any(one.get("type") == "choices" for one in result)
    for one in result:
        if one.get("type") not in ("keypointlabels", "rectanglelabels"):
            continue
        if one.get("image_rotation"):
            raise ValueError("the picture was turned in Label Studio: turn its file, and label it again")
        size, value = (one["original_width"], one["original_height"]), one["value"]
        x, y = value["x"] * size[0] / 100, value["y"] * size[1] / 100
        label = str(value[one["type"]][0])
        if one["type"] == "keypointlabels":
            covered = one["id"] in hidden if told else None
            points.append(LoosePoint(one.get("parentID"), Mark(label, x, y, covered)))
        else:
            end = x + value["width"] * size[0] / 100, y + value["height"] * size[1] / 100
            boxes.append(LooseBox(one.get("id"), label, (x, y, *end)))
    if len(boxes) == 1 and all(point.group is None for point in points):
        boxes = [boxes[0]._replace(group=None)]
    return MarkedPicture(name, hands_of_groups(points, boxes), size)


def _choices(one: dict) -> list[str]:
    return one["value"].get("choices", []) if one.get("type") == "choices" else []
