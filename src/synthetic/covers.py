"""Things that cover most of the hand for a few frames: what only a memory of the frames before can see
through.

A thing's course is drawn until it hides the hand for as long as was asked for, counted in small rasters; so
run lengths are held whatever thing it is, and however the hand moves behind it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy import ndarray

from tempohand.render import Buffers, rasterise
from tempohand.synthetic.curves import minimum_jerk
from tempohand.synthetic.motion import rotations_of
from tempohand.synthetic.objects import Mesh
from tempohand.synthetic.occluders import KINDS, Track, make_thing, rotation_of_y_to, surface

TRIES = 8
RASTER_PX = 36  # edge of the raster that counts hidden pixels: the hand's box fills most of it
HALF_HIDDEN = 0.5


@dataclass(frozen=True)
class CoverConfig:
    """How often, how long and by what the hand is covered. Ranges are (least, greatest)."""

    probability: float  # of a sequence in which the hand is covered now and then
    seen_frames: tuple[int, int]  # from the start, and from one cover to the next
    hidden_frames: tuple[int, int]  # half hidden or more, log-uniform
    enter_frames: tuple[int, int]  # from out of sight to the hand; and back
    size: tuple[float, float]  # half the thing's extent over half the hand's, as the camera sees them
    depth: tuple[float, float]  # its distance over that of the hand's nearest point


def add_covers(
    rng: np.random.Generator,
    moments: Float[ndarray, "t"],
    hand: Float[ndarray, "t 778 3"],
    faces: Integer[ndarray, "f 3"],
    things: list[Track],
    config: CoverConfig,
    other_hand: Callable[[np.random.Generator], Mesh],
) -> list[Track]:
    """The things that there are and, in a sequence with covers, those that cover the hand one after the
    other; there nothing else may hide half of it.

    moments: of the frames, in frame times; hand, faces: the hand in camera space, mm; other_hand: as for
    `occluders.passing`.
    """
    if rng.random() >= config.probability:
        return things
    rasters = HandRasters(hand, faces)
    whole = slice(0, len(moments))
    found = [thing for thing in things if rasters.hidden(thing, whole).max() < HALF_HIDDEN]
    for thing in found:
        rasters.add(thing, whole)
    begin = rng.uniform(*config.seen_frames)
    while begin < len(moments) - 1:
        wanted = np.exp(rng.uniform(*np.log(config.hidden_frames)))
        for _ in range(TRIES):
            thing, near = _cover(rng, moments, rasters, begin, wanted, config, other_hand)
            starts, stops = runs(rasters.hidden(thing, near) >= HALF_HIDDEN)
            lengths = stops - starts
            cut = stops[-1:] == near.stop - near.start  # the sequence ends before the thing leaves
            least, most = config.hidden_frames
            if (
                len(lengths) == 1
                and lengths[0] <= most
                and (cut or (lengths[0] >= least and abs(lengths[0] - wanted) < 1.5))
            ):
                rasters.add(thing, near)
                found.append(thing)
                begin = near.start + stops[0]
                break
        begin += rng.uniform(*config.seen_frames)
    return found


def runs(mask: Bool[ndarray, "t"]) -> tuple[Integer[ndarray, "r"], Integer[ndarray, "r"]]:
    """First frames, and frames after the last, of the runs of True."""
    change = np.diff(mask.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(change > 0), np.flatnonzero(change < 0)


class HandRasters:
    """Small pictures of the hand in every frame, each from a camera that holds its box, and of the things in
    front of it."""

    def __init__(self, hand: Float[ndarray, "t 778 3"], faces: Integer[ndarray, "f 3"]):
        rays = hand[..., :2] / hand[..., 2:]
        low, high = rays.min(1), rays.max(1)
        # Of the hand's box, as x / z and y / z.
        self.centre, self.half = (low + high) / 2, (high - low).max(1) / 2
        self.depth = hand[..., 2].min(1)  # of its nearest point
        self.focal = RASTER_PX / (2 * self.half)
        self.princpt = (RASTER_PX - 1) / 2 - self.centre * self.focal[:, None]
        self.num_faces = len(faces)
        self.frames = [
            rasterise(vertices, faces, (focal, focal), princpt, (RASTER_PX, RASTER_PX))
            for vertices, focal, princpt in zip(hand, self.focal, self.princpt, strict=True)
        ]
        self.alone = np.array([np.count_nonzero(frame.face >= 0) for frame in self.frames])

    def add(self, thing: Track, frames: slice) -> None:
        """Puts a thing into the pictures of some frames."""
        for frame, vertices in zip(
            range(frames.start, frames.stop), thing.during(frames).vertices(), strict=True
        ):
            self._draw(thing, vertices, frame, self.frames[frame])

    def hidden(self, thing: Track, frames: slice) -> Float[ndarray, "n"]:
        """The fraction of the hand that is hidden in some frames with one more thing, which is not kept."""
        seen, scratch = [], Buffers.empty((RASTER_PX, RASTER_PX))
        for frame, vertices in zip(
            range(frames.start, frames.stop), thing.during(frames).vertices(), strict=True
        ):
            for copy, kept in zip(scratch, self.frames[frame], strict=True):
                copy[:] = kept
            self._draw(thing, vertices, frame, scratch)
            seen.append(np.count_nonzero((scratch.face >= 0) & (scratch.face < self.num_faces)))
        return 1.0 - np.array(seen) / np.maximum(self.alone[frames], 1)

    def _draw(self, thing: Track, vertices: Float[ndarray, "v 3"], frame: int, into: Buffers) -> None:
        camera = (self.focal[frame], self.focal[frame]), self.princpt[frame], into.face.shape
        rasterise(vertices, thing.mesh.faces, *camera, into=into, cull=True, first_face=self.num_faces)


def _cover(
    rng: np.random.Generator,
    moments: Float[ndarray, "t"],
    hand: HandRasters,
    begin: float,
    wanted: float,
    config: CoverConfig,
    other_hand: Callable[[np.random.Generator], Mesh],
) -> tuple[Track, slice]:
    """A thing that comes at `begin`, covers the hand for about `wanted` frames and leaves; and the frames in
    which it is about."""
    enter, leave = rng.uniform(*config.enter_frames, 2)
    stay = max(wanted - 0.35 * (enter + leave), 0.0)
    near = slice(int(begin), min(int(np.ceil(begin + enter + stay + leave)) + 1, len(moments)))
    phase = moments - begin
    middle = int(np.clip(begin + enter + stay / 2, 0, len(moments) - 1))
    extent, depth = hand.half[middle], hand.depth[near].min() * rng.uniform(*config.depth)
    size = extent * rng.uniform(*config.size)
    kind = str(rng.choice(KINDS))
    way = rng.uniform(0, 2 * np.pi)
    out = way + (np.pi * (rng.random() < 0.6) if kind != "hand" else 0.0) + rng.normal(0, 0.3)
    toward, away = (np.array([np.cos(angle), np.sin(angle)]) for angle in (way, out))
    # It goes with the hand more or less, and drifts across it meanwhile.
    target = (
        hand.centre[middle]
        + rng.uniform(0.2, 1.0) * (hand.centre - hand.centre[middle])
        + rng.uniform(-0.2, 0.2, 2) * extent
    )
    drift = rng.uniform(0.0, 1.0) * extent * (np.clip((phase - enter) / max(stay, 1.0), 0, 1) - 0.5)
    far = 3.2 * extent + 1.2 * size  # out of the stored picture
    come, go = 1 - minimum_jerk(phase / enter), minimum_jerk((phase - enter - stay) / leave)
    place = target + far * (come[:, None] * toward + go[:, None] * away) + drift[:, None] * away
    if kind == "hand":
        mesh = other_hand(rng)
        mesh = mesh._replace(vertices=mesh.vertices - [0.0, rng.uniform(0.0, 180.0), 0.0])  # hand or forearm
        start = rotation_of_y_to(np.array([*toward, rng.uniform(-0.3, 0.1)])) @ rotations_of(
            np.array([0.0, rng.uniform(-3.0, 3.0), 0.0])
        )
    else:
        mesh = make_thing(rng, kind, size * depth)
        start = rotations_of(rng.uniform(-0.5, 0.5, 3))
    turn = rotations_of(phase[:, None] * rng.normal(0, 0.03, 3))
    position = np.column_stack([place, np.ones(len(place))]) * depth
    return Track(mesh, turn @ start, position, surface(rng, kind), rng.uniform(0.0, 0.25)), near
