"""Predictions as a recording for Rerun's viewer: camera, pictures, meshes and skeletons over time."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from tempohand.draw import finger_colours
from tempohand.inference.formats.predictions import Predictions
from tempohand.inference.formats.rig import COLOURS
from tempohand.inference.source import Source
from tempohand.inference.viewer import FPS, PosedHands
from tempohand.skeleton import BONES
from tempohand.writing import whole

JPEG_QUALITY = 90
PLANE_M = 0.5  # where the picture hangs before the camera


class RerunRecording:
    """What is logged of predictions: metres in OpenCV's camera space (`/` is right, down, forward).

    `/camera` is the pinhole of the frame's hands, `/camera/picture` its JPEG, `/hands/NAME/mesh` and
    `/hands/NAME/skeleton` each hand, cleared in frames without it. Timelines: `frame`, and `time` in seconds.
    hand: the hand model that the network was trained with. Raises ValueError saying what to install when
    rerun is missing.
    """

    def __init__(self, predictions: Predictions, hand: str | Path | None = None):
        try:
            import rerun
        except ImportError as error:
            raise ValueError(
                f"a recording needs rerun-sdk ({error}): pip install 'tempohand[rerun]'"
            ) from error
        self._rr = rerun
        self._stream = rerun.RecordingStream("tempohand")
        self.predictions = predictions
        self.hands = PosedHands(predictions, hand)
        self._rows: dict[int, list[int]] = {}
        for row, frame in enumerate(predictions.frame.tolist()):
            self._rows.setdefault(frame, []).append(row)
        self._shown: set[str] = set()

    def save(self, path: str | Path, source: Source | None) -> None:
        """Writes an .rrd file. source: of the pictures; None: hands alone. Raises what reading it raises."""
        with whole(path) as part:
            self._stream.save(part, default_blueprint=self._blueprint())
            self._log_all(source)

    def spawn(self, source: Source | None) -> None:
        """Opens Rerun's viewer on this desktop, and logs into it."""
        self._stream.spawn(default_blueprint=self._blueprint())
        self._log_all(source)

    def _blueprint(self):
        from rerun import blueprint

        camera = blueprint.Spatial2DView(
            name="As the camera sees it", origin="/camera", contents=["/camera/**", "/hands/**"]
        )
        return blueprint.Blueprint(blueprint.Horizontal(blueprint.Spatial3DView(origin="/"), camera))

    def _log_all(self, source: Source | None) -> None:
        rr, stream = self._rr, self._stream
        stream.log("/", rr.ViewCoordinates.RDF, static=True)
        last, done = max(self._rows), 0
        if source is not None:
            for frame in tqdm(source, desc="pictures", unit="frame", total=source.expected_count):
                self._log_until(done, frame.index)  # frames that the source could not read
                time = self._usual_time(frame.index) if source.independent else frame.time
                self._log_frame(frame.index, time, frame.image)
                done = frame.index + 1
        self._log_until(done, last + 1)
        stream.flush()
        stream.disconnect()

    def _log_until(self, first: int, end: int) -> None:
        for number in range(first, end):
            self._log_frame(number, self._usual_time(number), None)

    def _usual_time(self, number: int) -> float:
        """Of a frame that has no time of its own, s."""
        return number / (self.predictions.fps if np.isfinite(self.predictions.fps) else FPS)

    def _log_frame(self, number: int, time: float, picture: UInt8[np.ndarray, "h w 3"] | None) -> None:
        rr, stream = self._rr, self._stream
        rows = self._rows.get(number, [])
        stream.set_time("frame", sequence=number)
        stream.set_time("time", duration=float(self.predictions.time[rows[0]]) if rows else time)
        if rows:
            self._log_camera(rows[0])
        if picture is not None:
            options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            content = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), options)[1].tobytes()
            stream.log("/camera/picture", rr.EncodedImage(contents=content, media_type="image/jpeg"))
        there = {self._name(row): row for row in rows}
        for name in self._shown - there.keys():
            stream.log(f"/hands/{name}", rr.Clear(recursive=True))
        for name, row in there.items():
            self._log_hand(name, row)
        self._shown = set(there)

    def _name(self, row: int) -> str:
        side = "right" if self.predictions.is_right[row] else "left"
        return f"hand{self.predictions.hand_id[row]}_{side}"

    def _log_camera(self, row: int) -> None:
        one = self.predictions
        pinhole = self._rr.Pinhole(
            focal_length=one.focal[row].tolist(),
            principal_point=(one.princpt[row] + 0.5).tolist(),  # Rerun's (0, 0) is the corner of a pixel
            resolution=one.image_size[row].tolist(),
            camera_xyz=self._rr.ViewCoordinates.RDF,
            image_plane_distance=PLANE_M,
        )
        self._stream.log("/camera", pinhole)

    def _log_hand(self, name: str, row: int) -> None:
        rr, right = self._rr, bool(self.predictions.is_right[row])
        mesh = rr.Mesh3D(
            vertex_positions=self.hands.vertices(row).astype(np.float32),
            triangle_indices=self.hands.faces[right],
            albedo_factor=COLOURS[right],
        )
        joints = self.predictions.joints[row].astype(np.float32) / 1000
        colours = np.array(finger_colours(), np.uint8)[[child for _, child in BONES]]
        skeleton = rr.LineStrips3D(joints[np.array(BONES)], colors=colours, radii=rr.Radius.ui_points(2.0))
        self._stream.log(f"/hands/{name}/mesh", mesh)
        self._stream.log(f"/hands/{name}/skeleton", skeleton)
