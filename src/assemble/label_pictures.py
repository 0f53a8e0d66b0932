"""Answers to every picture of a folder of sources (data/convert/real_hands.py), kept in a file a source: a
teacher's, and a trained network's to the same hands."""

import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from tqdm import tqdm

from tempohand.assemble.second_look import SecondLook
from tempohand.assemble.teacher import Teacher
from tempohand.data.convert.read import read_npz, read_picture
from tempohand.data.convert.real_hands import (
    ANSWERS,
    ListedPicture,
    archive,
    listed_pictures,
    sources,
)
from tempohand.writing import whole

AT_ONCE = 32  # hands

Hand = tuple[str, UInt8[np.ndarray, "_ _ 3"], Float[np.ndarray, "4"]]
Group = tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray]  # names, pictures, boxes of some hands


def label_folder(
    root: str | Path, out: str | Path, teacher: Teacher | None = None, *, most: int | None = None
) -> Path:
    """Asks the teacher about every hand of the sources below `root` and writes <out>/<source>.npz, an entry a
    hand: picture (its name), size (W, H), and the fields of TeacherLabels. Sources that are there already are
    left as they are, so interrupted work goes on. Returns `out`.

    most: only so many pictures of each source, evenly spread.

    Raises FileNotFoundError where there is no source, ValueError for a damaged one.
    """
    teacher = teacher or Teacher()

    def ask(names: np.ndarray, pictures: tuple[np.ndarray, ...], boxes: np.ndarray) -> dict[str, np.ndarray]:
        labels = asdict(teacher.label(pictures, torch.from_numpy(boxes).float()))
        sizes = np.array([picture.shape[1::-1] for picture in pictures], float)
        return {"picture": names, "size": sizes} | {name: value.numpy() for name, value in labels.items()}

    for source, path, listed in _work(root, out, most):
        _write(path, (ask(*hands) for hands in _groups(source, listed)))
    return Path(out)


def relabel_folder(
    root: str | Path, labels: str | Path, out: str | Path, look: SecondLook, *, most: int | None = None
) -> Path:
    """The same by a trained network, about the hands that `label_folder` wrote answers to into `labels`:
    picture, and the fields of SecondLabels. Raises as `label_folder` does."""
    for source, path, listed in _work(root, out, most):
        first = read_npz(Path(labels) / path.name, ANSWERS)
        if len(first["picture"]) != _number(listed):
            raise ValueError(f"'{Path(labels) / path.name}' has not every hand of {source.name}: remove it")
        _write(path, _asked_again(look, first, _groups(source, listed)))
    return Path(out)


def _asked_again(
    look: SecondLook, first: dict[str, np.ndarray], groups: Iterator[Group]
) -> Iterator[dict[str, np.ndarray]]:
    joints2d, is_right = torch.from_numpy(first["joints2d"]), torch.from_numpy(first["side"] > 0.5)
    for place, (names, pictures, _) in enumerate(groups):
        part = slice(AT_ONCE * place, AT_ONCE * place + len(names))
        said = asdict(look.label(pictures, joints2d[part], is_right[part]))
        yield {"picture": names} | {name: value.numpy() for name, value in said.items()}


def _work(
    root: str | Path, out: str | Path, most: int | None
) -> Iterator[tuple[Path, Path, list[ListedPicture]]]:
    """Each source whose file of answers is not complete: its folder, that file, its pictures. Raises
    FileNotFoundError where there is no source."""
    root, out = Path(root), Path(out)
    found = sources(root)
    if not found:
        raise FileNotFoundError(f"'{root}' has no <source>/files.csv: see docs/datasets.md, Real hands")
    out.mkdir(parents=True, exist_ok=True)
    for source in found:
        path, listed = out / f"{source.name}.npz", _spread(listed_pictures(source), most)
        if not _complete(path, listed):
            yield source, path, listed


def _spread(listed: list[ListedPicture], most: int | None) -> list[ListedPicture]:
    """At most so many, evenly spread."""
    places = np.linspace(0, len(listed) - 1, min(len(listed), most or len(listed)))
    return [listed[place] for place in places.round().astype(int)]


def _number(listed: list[ListedPicture]) -> int:
    """Of hands."""
    return sum(max(len(picture.boxes), 1) for picture in listed)


def _complete(path: Path, listed: list[ListedPicture]) -> bool:
    return path.exists() and len(read_npz(path, ["picture"])["picture"]) == _number(listed)


def _groups(source: Path, listed: list[ListedPicture]) -> Iterator[Group]:
    """Names, pictures and boxes of AT_ONCE hands after the other, with the progress that is made."""
    with tqdm(total=_number(listed), unit="hand", desc=f"labelling {source.name}", mininterval=1.0) as bar:
        waiting = _hands(source, listed)
        while hands := list(islice(waiting, AT_ONCE)):
            names, pictures, boxes = zip(*hands)
            yield np.array(names), pictures, np.stack(boxes)
            bar.update(len(hands))


def _write(path: Path, parts: Iterator[dict[str, np.ndarray]]) -> None:
    groups = list(parts)
    content = {name: np.concatenate([group[name] for group in groups]) for name in groups[0]}
    with whole(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **content)


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
