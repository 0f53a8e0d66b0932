"""A teacher's answers to every picture of a folder of sources (data/convert/real_hands.py), kept in a file a
source."""

import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from tqdm import tqdm

from tempohand.assemble.teacher import Teacher
from tempohand.data.convert.read import read_npz, read_picture
from tempohand.data.convert.real_hands import ListedPicture, archive, listed_pictures, sources
from tempohand.writing import whole

AT_ONCE = 32  # hands

Hand = tuple[str, UInt8[np.ndarray, "_ _ 3"], Float[np.ndarray, "4"]]


def label_folder(
    root: str | Path, out: str | Path, teacher: Teacher | None = None, *, most: int | None = None
) -> Path:
    """Asks the teacher about every hand of the sources below `root` and writes <out>/<source>.npz, an entry a
    hand: picture (its name), size (W, H), and the fields of TeacherLabels. Sources that are there already are
    left as they are, so interrupted work goes on. Returns `out`.

    most: only so many pictures of each source, evenly spread.

    Raises FileNotFoundError where there is no source, ValueError for a damaged one.
    """
    root, out = Path(root), Path(out)
    found = sources(root)
    if not found:
        raise FileNotFoundError(f"'{root}' has no <source>/files.csv: see docs/datasets.md, Real hands")
    teacher = teacher or Teacher()
    out.mkdir(parents=True, exist_ok=True)
    for source in found:
        path, listed = out / f"{source.name}.npz", _spread(listed_pictures(source), most)
        if not _complete(path, listed):
            content = _answers(source, listed, teacher)
            with whole(path) as part, open(part, "wb") as file:
                np.savez_compressed(file, **content)
    return out


def _spread(listed: list[ListedPicture], most: int | None) -> list[ListedPicture]:
    """At most so many, evenly spread."""
    places = np.linspace(0, len(listed) - 1, min(len(listed), most or len(listed)))
    return [listed[place] for place in places.round().astype(int)]


def _number(listed: list[ListedPicture]) -> int:
    """Of hands."""
    return sum(max(len(picture.boxes), 1) for picture in listed)


def _complete(path: Path, listed: list[ListedPicture]) -> bool:
    return path.exists() and len(read_npz(path, ["picture"])["picture"]) == _number(listed)


def _answers(source: Path, listed: list[ListedPicture], teacher: Teacher) -> dict[str, np.ndarray]:
    parts = []
    with tqdm(total=_number(listed), unit="hand", desc=f"labelling {source.name}", mininterval=1.0) as bar:
        waiting = _hands(source, listed)
        while hands := list(islice(waiting, AT_ONCE)):
            names, pictures, boxes = zip(*hands)
            labels = asdict(teacher.label(pictures, torch.from_numpy(np.stack(boxes)).float()))
            sizes = [picture.shape[1::-1] for picture in pictures]
            part = {"picture": np.array(names), "size": np.array(sizes, float)}
            parts.append(part | {name: value.numpy() for name, value in labels.items()})
            bar.update(len(hands))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _hands(source: Path, listed: list[ListedPicture]) -> Iterator[Hand]:
    """Every box's picture; a picture without boxes is a hand's as a whole."""
    with tarfile.open(archive(source)) as tar:
        for shown in listed:
            name = f"{shown.name} of {source.name}.tar"
            try:
                content = tar.extractfile(shown.name).read()
            except KeyError as error:
                raise ValueError(f"{name} is missing: unpack or download the source again") from error
            picture = read_picture(content, name)[1]
            height, width = picture.shape[:2]
            whole_picture = np.array([[0.0, 0.0, width - 1.0, height - 1.0]])
            for box in shown.boxes if len(shown.boxes) else whole_picture:
                yield shown.name, picture, box
