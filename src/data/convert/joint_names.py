"""Which joint a label names: the names that are in use for a hand's 21 points, and files that translate
others."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tempohand.data.convert.read import read_yaml
from tempohand.skeleton import FINGERS, JOINT_NAMES, NUM_JOINTS

WHOLE_SIDES = {"left": False, "right": True}
SIDES = WHOLE_SIDES | {"l": False, "r": True}
# Words that say nothing of the joint: "left_hand_root", "INDEX_FINGER_MCP", "kpt_7".
_IDLE = {"hand", "finger", "joint", "point", "keypoint", "kp", "kpt"}
_FINGER = {
    **{finger: finger for finger in FINGERS},
    **dict.fromkeys(("fore", "forefinger", "pointer"), "index"),
    **dict.fromkeys(("little", "small"), "pinky"),
}
# From base to tip: counted, or called by anatomy; the thumb has a joint less and one more at its base.
_END = {"1": "1", "2": "2", "3": "3", "4": "tip", "tip": "tip", "mcp": "1", "pip": "2", "dip": "3"}
_THUMB_END = _END | {"cmc": "1", "mcp": "2", "ip": "3"}
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_ENOUGH = 3  # unknown names that a message lists


class Named(NamedTuple):
    """A joint, and the hand's side where the name tells it (True: right)."""

    joint: int  # 0 to 20, OpenPose's order
    is_right: bool | None


def side_of(text: str, sides: Mapping[str, bool] = SIDES) -> bool | None:
    """The side that a label such as "right_hand" names, True for right; None where it names none, or both.
    sides: the words for them."""
    found = {sides[word] for word in _words(text) if word in sides}
    return found.pop() if len(found) == 1 else None


def _words(text: str) -> list[str]:
    words = [word.lower() for word in _WORDS.findall(text)]
    glued = [re.fullmatch("(left|right)(hand)", word) for word in words]  # COCO-WholeBody's lefthand
    return [part for word, both in zip(words, glued) for part in (both.groups() if both else [word])]


def _usual(text: str) -> int | None:
    """The joint that a usual name means: the project's (thumb_1 ... thumb_tip), MediaPipe's
    (INDEX_FINGER_MCP), COCO-WholeBody's (forefinger1), or a number from 0 to 20; None for another."""
    words = [word for word in _words(text) if word not in SIDES and word not in _IDLE]
    if len(words) == 1 and words[0].isdecimal():
        number = int(words[0])
        return number if number < NUM_JOINTS else None
    if words in (["wrist"], ["root"]):
        return 0
    if len(words) != 2 or words[0] not in _FINGER:
        return None
    finger = _FINGER[words[0]]
    end = (_THUMB_END if finger == "thumb" else _END).get(words[1])
    return None if end is None else JOINT_NAMES.index(f"{finger}_{end}")


class JointNames:
    """Which joint each name of a labelling means.

    file: a YAML or JSON file, a mapping {their name: ours, or a number, or null for what is no joint}, or a
    list of their 21 names in OpenPose's order; None: usual names alone. Raises FileNotFoundError or
    ValueError, one line, for a file that is neither.
    """

    def __init__(self, file: str | Path | None = None):
        self._given: dict[str, int | None] = {} if file is None else _read(Path(file))
        self._known: dict[str, Named] = {}

    def ignores(self, name: str) -> bool:
        """Whether the file says that a name is no joint's."""
        return self._given.get(name, 0) is None

    def __call__(self, name: str) -> Named:
        """Raises KeyError for a name of no joint."""
        if name not in self._known:
            self._known[name] = self._named(name)
        return self._known[name]

    def _named(self, name: str) -> Named:
        joint = self._given.get(name, _usual(name))
        if joint is None:
            raise KeyError(name)
        # of names that only a file explains a single letter says nothing
        return Named(joint, side_of(name, WHOLE_SIDES if name in self._given else SIDES))

    def check(self, names: Iterable[str], where: str) -> None:
        """Raises ValueError naming those that are no joint's. where: the file or folder that has them."""
        unknown = [name for name in sorted(set(names)) if not self.ignores(name) and self._lacks(name)]
        if unknown:
            few = ", ".join(f"'{name}'" for name in unknown[:_ENOUGH])
            more = f" and {len(unknown) - _ENOUGH} others" if len(unknown) > _ENOUGH else ""
            raise ValueError(
                f"{where}: {few}{more} names no joint of a hand: options={{names: FILE}} says which joint it "
                "is, or null for none (docs/own_data.md has the usual names)"
            )

    def _lacks(self, name: str) -> bool:
        return self._given.get(name, _usual(name)) is None


def _read(path: Path) -> dict[str, int | None]:
    if not path.is_file():
        raise FileNotFoundError(f"options.names: there is no file '{path}'")
    content = read_yaml(path, remedy="mend it")  # JSON is YAML
    if isinstance(content, list):
        if len(content) != NUM_JOINTS or len(set(map(str, content))) != NUM_JOINTS:
            raise ValueError(
                f"'{path}' lists {len(content)} names: a hand has {NUM_JOINTS} different ones, in OpenPose's "
                "order"
            )
        return {str(name): joint for joint, name in enumerate(content)}
    if not isinstance(content, Mapping):
        raise ValueError(f"'{path}' is neither a mapping of names nor a list of {NUM_JOINTS}")
    found = {}
    for theirs, ours in content.items():
        joint = None if ours is None else _usual(str(ours))
        if ours is not None and joint is None:
            raise ValueError(
                f"'{path}' calls '{theirs}' '{ours}', which is no joint: {JOINT_NAMES[0]}, {JOINT_NAMES[1]} "
                f"... {JOINT_NAMES[-1]}, or 0 to {NUM_JOINTS - 1}"
            )
        found[str(theirs)] = joint
    return found
