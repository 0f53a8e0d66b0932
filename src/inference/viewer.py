"""Predictions to walk around in: hands and the picture that they were seen in, in 3D, in a browser.

The scene is the camera's own space in metres (OpenCV: x right, y down, z forward), the camera at its origin.
The picture hangs behind the hands where the camera sees it, so that from the origin both lie on each other.
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from tqdm import tqdm

from tempohand.draw import finger_colours
from tempohand.geometry import mirror_points, mirror_pose
from tempohand.hand.layer import HandLayer
from tempohand.inference.formats.predictions import Predictions
from tempohand.inference.formats.rig import COLOURS
from tempohand.inference.source import Source
from tempohand.skeleton import BONES

PICTURE_EDGE = 960  # px: longer pictures are shown smaller
BEHIND = 1.15  # depth of the picture, as a multiple of the farthest joint's
FPS = 30.0  # of frames whose times are not known
WAIT_S = 0.2  # between two looks at a viewer that does not play


class PictureStore:
    """Frames of a source as JPEG files in one temporary file, small enough to be sent, found by their
    number."""

    def __init__(self, source: Source, edge: int = PICTURE_EDGE):
        self._file = tempfile.TemporaryFile(prefix="tempohand-view-")  # noqa: SIM115  closed by close()
        self._places: dict[int, tuple[int, int]] = {}
        self.times: dict[int, float] = {}
        for frame in tqdm(source, desc="pictures", unit="frame", total=source.expected_count):
            scale = min(1.0, edge / max(frame.size))
            size = [max(1, round(side * scale)) for side in frame.size]
            small = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
            content = cv2.imencode(".jpg", small[..., ::-1])[1].tobytes()
            self._places[frame.index] = (self._file.seek(0, io.SEEK_END), len(content))
            self.times[frame.index] = frame.time
            self._file.write(content)

    def __getitem__(self, frame: int) -> UInt8[np.ndarray, "h w 3"] | None:
        """RGB; None for a frame that the source has not."""
        if frame not in self._places:
            return None
        place, length = self._places[frame]
        self._file.seek(place)
        content = np.frombuffer(self._file.read(length), np.uint8)
        return cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1]

    def close(self) -> None:
        """Removes the file."""
        self._file.close()


class PosedHands:
    """Every row's vertices, m, made when they are asked for. hand: the predictions' hand model."""

    def __init__(self, predictions: Predictions, hand: str | Path | None = None):
        self.predictions = predictions
        self.layer = HandLayer(hand, side="right")

    @cached_property
    def faces(self) -> dict[bool, Int[np.ndarray, "f 3"]]:
        """Wound to look outward, by whether it is a right hand."""
        faces = np.asarray(self.predictions.tables.faces, np.int64)
        return {True: faces, False: faces[:, ::-1]}

    def vertices(self, row: int) -> Float[np.ndarray, "778 3"]:
        """Of one row, in camera space, m."""
        one = self.predictions
        pose, shape, trans = (
            torch.from_numpy(getattr(one, name)[row : row + 1]).float() for name in ("pose", "shape", "trans")
        )
        right = bool(one.is_right[row])
        if not right:
            pose, trans = mirror_pose(pose), mirror_points(trans)
        _, vertices = self.layer(pose, shape, trans)
        return (vertices if right else mirror_points(vertices))[0].numpy() / 1000


def picture_plane(
    size: Int[np.ndarray, "2"], focal: Float[np.ndarray, "2"], princpt: Float[np.ndarray, "2"], depth: float
) -> tuple[float, float, Float[np.ndarray, "3"]]:
    """Width, height and centre, m, of a picture of `size` (W, H) px at `depth` m before a camera: a pixel
    lies on the ray that it was seen along. Integer coordinates are pixel centres."""
    width, height = size * depth / focal
    centre = ((size - 1) / 2 - princpt) * depth / focal
    return float(width), float(height), np.array([*centre, depth])


class Viewer:
    """A viser server that shows one frame at a time, chosen by a slider or played.

    pictures: of the frames, None to show hands alone. port: the first one to try. Raises ValueError saying
    what to install when viser is missing. Use as a context manager.
    """

    def __init__(
        self,
        predictions: Predictions,
        hand: str | Path | None = None,
        pictures: PictureStore | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
    ):
        try:
            import viser
        except ImportError as error:
            raise ValueError(f"the viewer needs viser ({error}): pip install 'tempohand[view]'") from error
        self.predictions, self.pictures = predictions, pictures
        self.hands = PosedHands(predictions, hand)
        self.frames = max(predictions.num_frames, int(predictions.frame.max()) + 1)
        self.rows: dict[int, list[int]] = {}
        for row, frame in enumerate(predictions.frame.tolist()):
            self.rows.setdefault(frame, []).append(row)
        self.depth = BEHIND * float(predictions.joints[..., 2].max()) / 1000
        with contextlib.redirect_stdout(io.StringIO()):  # its table of addresses
            self.server = viser.ViserServer(host=host, port=port, label="Tempohand", verbose=False)
        self.server.scene.set_up_direction("-y")
        middle = np.median(predictions.joints.reshape(-1, 3), axis=0) / 1000
        self.server.initial_camera.position = tuple(0.35 * middle + middle[2] * np.array([0.25, -0.15, 0.0]))
        self.server.initial_camera.look_at = tuple(middle)
        self.server.scene.add_frame("/camera", axes_length=0.05, axes_radius=0.002)
        self.meshes: dict[str, viser.MeshHandle] = {}
        self.skeletons: dict[str, viser.LineSegmentsHandle] = {}
        self._controls()
        self.show(int(predictions.frame.min()))

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(self, kind, error, trace) -> None:
        self.server.stop()

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def _controls(self) -> None:
        gui, first = self.server.gui, int(self.predictions.frame.min())
        self.frame = gui.add_slider("Frame", 0, max(self.frames - 1, 1), 1, first)
        self.playing = gui.add_checkbox("Play", initial_value=False)
        self.speed = gui.add_slider("Speed", 0.1, 2.0, 0.1, 1.0)
        self.shown = {
            name: gui.add_checkbox(name, initial_value=True) for name in ("Picture", "Mesh", "Skeleton")
        }
        gui.add_button("As the camera sees it").on_click(lambda event: self.look_along(event.client.camera))
        self.said = gui.add_markdown("")
        for control in (self.frame, *self.shown.values()):
            control.on_update(lambda _: self.show(int(self.frame.value)))

    def look_along(self, camera) -> None:
        """Puts a client's camera (viser's) where the picture was taken: hands and picture lie on each
        other."""
        _, height, centre = self._plane(self.rows.get(int(self.frame.value), []))
        camera.position, camera.look_at = (0.0, 0.0, 0.0), tuple(centre)
        camera.up_direction = (0.0, -1.0, 0.0)
        camera.fov = 2 * float(np.arctan(height / 2 / self.depth))

    def time(self, frame: int) -> float:
        """Seconds of a frame: its rows', its picture's, or by the frame rate."""
        rows = self.rows.get(frame, [])
        if rows:
            return float(self.predictions.time[rows[0]])
        known = {} if self.pictures is None else self.pictures.times
        rate = self.predictions.fps if np.isfinite(self.predictions.fps) else FPS
        return known.get(frame, frame / rate)

    def show(self, frame: int) -> None:
        """The hands and the picture of a frame; hands that it has not are hidden."""
        rows = self.rows.get(frame, [])
        with self.server.atomic():
            there = {self._name(row): row for row in rows}
            for name in self.meshes.keys() - there.keys():
                self.meshes[name].visible = self.skeletons[name].visible = False
            for name, row in there.items():
                self._show_hand(name, row)
            self._show_picture(frame, rows)
        hands = ", ".join(
            f"{name} at {np.linalg.norm(self.predictions.trans[row]) / 10:.0f} cm"
            for name, row in there.items()
        )
        self.said.content = f"{self.time(frame):.3f} s: {hands or 'no hand'}"

    def _name(self, row: int) -> str:
        one = self.predictions
        return f"hand {one.hand_id[row]} {'right' if one.is_right[row] else 'left'}"

    def _show_hand(self, name: str, row: int) -> None:
        right = bool(self.predictions.is_right[row])
        vertices = self.hands.vertices(row).astype(np.float32)
        joints = self.predictions.joints[row].astype(np.float32) / 1000
        bones = joints[np.array(BONES)]
        if name not in self.meshes:
            scene, colours = self.server.scene, np.array(finger_colours(), np.uint8)
            self.meshes[name] = scene.add_mesh_simple(
                f"/{name}/mesh",
                vertices,
                self.hands.faces[right],
                color=np.array(COLOURS[right][:3]),
                opacity=0.8,
            )
            self.skeletons[name] = scene.add_line_segments(
                f"/{name}/skeleton",
                bones,
                np.repeat(colours[[child for _, child in BONES], None], 2, axis=1),
                thickness=3.0,
                thickness_units="screen",
            )
        self.meshes[name].vertices, self.skeletons[name].points = vertices, bones
        self.meshes[name].visible = self.shown["Mesh"].value
        self.skeletons[name].visible = self.shown["Skeleton"].value

    def _show_picture(self, frame: int, rows: list[int]) -> None:
        image = self.pictures[frame] if self.pictures is not None and self.shown["Picture"].value else None
        if image is None:
            self.server.scene.remove_by_name("/picture")
            return
        width, height, centre = self._plane(rows)
        self.server.scene.add_image("/picture", image, width, height, format="jpeg", position=centre)

    def _plane(self, rows: list[int]) -> tuple[float, float, Float[np.ndarray, "3"]]:
        """Where the picture hangs; a frame without a hand has no camera of its own."""
        one, row = self.predictions, rows[0] if rows else 0
        return picture_plane(one.image_size[row], one.focal[row], one.princpt[row], self.depth)

    def run(self, until: Iterable[None] | None = None) -> None:
        """Plays while "Play" is ticked, at the frames' own times, and begins again at the end; ends by
        Ctrl-C, or when `until` does, which is asked for every frame."""
        for _ in iter(int, 1) if until is None else until:
            frame = int(self.frame.value)
            if not self.playing.value:
                time.sleep(WAIT_S)
                continue
            following = (frame + 1) % self.frames
            apart = self.time(following) - self.time(frame)
            time.sleep(min(max(apart, 0.0), 1.0) / self.speed.value)
            self.frame.value = following
