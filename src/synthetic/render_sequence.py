"""Renders a scene: light, background, motion blur, sensor; a stored picture and its labels for every
frame."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from tempohand.data.pictures import BEYOND, encode_depth, encode_mask
from tempohand.render import Buffers, rasterise, supersampled_camera, vertex_normals
from tempohand.skeleton import NUM_JOINTS
from tempohand.synthetic.ambient_occlusion import openness
from tempohand.synthetic.backdrop import Backdrop, BackgroundConfig
from tempohand.synthetic.curves import parabola
from tempohand.synthetic.depth_sensor import DepthConfig, DepthSensor
from tempohand.synthetic.film import Film, FilmConfig, expose
from tempohand.synthetic.given import Given
from tempohand.synthetic.hand_kit import HandKit
from tempohand.synthetic.hand_on_face import BLUR, FaceBehind
from tempohand.synthetic.lighting import Lights, cast_shadow, crevices, light_vertices
from tempohand.synthetic.materials import LookConfig, Materials
from tempohand.synthetic.panoramas import Surroundings
from tempohand.synthetic.people import place
from tempohand.synthetic.postprocess import Finish, FinishConfig
from tempohand.synthetic.scene import Scene, SceneConfig
from tempohand.synthetic.skin import to_srgb

SUPERSAMPLES = 2  # per pixel edge, for a still frame; a moving one is sampled over time instead
SHARP_PX = 1.0  # a frame in which nothing of the hand moves further while the shutter is open counts as still


@dataclass(frozen=True)
class SequenceConfig(SceneConfig):
    """What a sequence and its pictures are drawn from."""

    film: FilmConfig
    look: LookConfig
    finish: FinishConfig
    background: BackgroundConfig
    depth: DepthConfig


class SequenceRenderer:
    """Renders the frames of one scene as one camera takes them."""

    def __init__(
        self, rng: np.random.Generator, scene: Scene, kit: HandKit, config: SequenceConfig, given: Given
    ):
        self.rng = rng
        self.scene = scene
        self.size = size = config.camera.image_size
        self.film = Film(rng, config.film)
        # Generators of their own, so that what is off changes nothing else.
        look_rng, contact_rng, finish_rng, place_rng, panorama_rng = rng.spawn(5)
        self.lights: Lights | Surroundings = Lights(rng)
        surroundings = None
        if given.panoramas and panorama_rng.random() < config.background.panorama_probability:
            self.lights = surroundings = Surroundings(panorama_rng, given.panoramas)
        (face_rng,) = place_rng.spawn(1)
        wants_place = place_rng.random() < config.background.place_probability
        wants_face = (
            wants_place and not surroundings and face_rng.random() < config.background.face_probability
        )
        self.face = FaceBehind(face_rng) if wants_face else None
        self.backdrop = Backdrop(
            *(rng, scene, size, config.background, [] if surroundings else given.photos),
            blank=wants_place or surroundings is not None,
            distance=self.face.distance if self.face else None,
        )
        self.materials = Materials(rng, look_rng, scene, kit, config.look, given.skins)
        if surroundings:
            self.backdrop.texture = surroundings.behind(self.backdrop.corners(), self.backdrop.edge)
        elif self.backdrop.texture is not None:  # a photo, or flat shapes: no face is drawn there
            self.face = None
        else:
            face, blur = None, config.background.blur
            if self.face:
                face, blur = self.face.place(scene, self.backdrop), BLUR
            self.backdrop.show(place(place_rng, self.backdrop.edge, blur, to_srgb(self.materials.tone), face))
        self.finish = Finish(finish_rng, config.finish)
        self.sensor = DepthSensor(*finish_rng.spawn(1), config.depth)
        self.contact = contact_rng.uniform(*config.look.contact)
        self.crevice = rng.uniform(0.008, 0.035)
        self.buffers = {factor: Buffers.empty((size * factor, size * factor)) for factor in (1, SUPERSAMPLES)}

    def rows(self, name: str) -> Iterator[dict]:
        """One row of the frame table for every frame; `name`: the sequence's."""
        scene = self.scene
        joints2d = scene.joints2d()
        for frame in scene.clock.kept.tolist():
            picture, hidden = self.picture(frame)
            measured = {}
            if self.sensor.used:
                depth, mask = self.depth(frame, picture), self.mask(frame)
                measured = {"depth": encode_depth(depth), "mask": encode_mask(mask)}
            yield measured | {
                "image": self.film.encode(picture),
                "width": self.size,
                "height": self.size,
                "focal": scene.focal[frame],
                "princpt": scene.princpt[frame],
                "box": np.concatenate([joints2d[frame].min(0), joints2d[frame].max(0)]),
                "is_right": scene.is_right,
                "joints2d": joints2d[frame],
                "joints2d_mask": np.ones(NUM_JOINTS, bool),
                "joints": scene.joints[frame],
                "joints_mask": np.ones(NUM_JOINTS, bool),
                "pose": scene.pose[frame],
                "shape": scene.shape,
                "trans": scene.joints[frame, 0],
                "has_hand": True,
                "has_camera": True,
                "hidden": hidden,
                "source": "synthetic",
                "sequence": name,
                "recording": name,
                "frame": frame - 1,
                "time": float(scene.clock.moments[frame] - 1) / scene.fps,
            }

    def picture(self, frame: int) -> tuple[ndarray, float]:
        """The developed picture (RGB, uint8) of an exposure, and the fraction of the hand that things hide in
        it."""
        scene, size = self.scene, self.size
        lit = self.lit(frame)
        moments, factor = self.moments(frame)
        linear = np.zeros((size, size, 3), np.float32)
        bounds = self.frame_bounds(frame)
        hidden = 0.0
        dark = background = None
        for moment in sorted(moments, key=abs):  # the frame's own moment first: its labels and its crevices
            vertices = self.between(scene.vertices, frame, moment)
            jitter = self.rng.uniform(-0.5, 0.5, 2) if moment else 0.0
            princpt = scene.princpt[frame] + jitter
            buffers = self.rasterise_hand(vertices, scene.focal[frame], princpt, factor)
            if dark is None:
                dark = crevices(buffers, factor, size * 0.035, self.crevice)
            hides = self.rasterise_rest(vertices, scene.focal[frame], princpt, factor, bounds)
            hidden = hides if moment == 0.0 else hidden
            if background is None or self.camera_moves(frame):
                background = self.background(frame, moment, buffers)
            exposure = {"dark": dark, "factor": factor, "share": 1 / len(moments), "background": background}
            expose(buffers, self.materials, lit, **exposure, out=linear)
        picture = self.finish(self.film.develop(self.rng, linear))
        u, v = bounds
        beyond = v.start, size - v.stop, u.start, size - u.stop
        return cv2.copyMakeBorder(picture[v, u], *beyond, BEYOND), hidden

    def depth(self, frame: int, picture: UInt8[ndarray, "h w 3"]) -> Float[ndarray, "h w"]:
        """What the depth camera measures beside a frame's picture (RGB), mm, 0 for holes."""
        scene, size = self.scene, self.size
        sensor = self.sensor
        edge = sensor.edge(size, scene.focal[frame, 0])
        share = edge / size
        focal, princpt = scene.focal[frame] * share, (scene.princpt[frame] + 0.5) * share - 0.5
        z = self.true_depth(frame, sensor.offset * scene.fps, focal, princpt, edge)
        measured = sensor.measure(z, focal[0], picture)
        return self.inside(frame, cv2.resize(measured, (size, size), interpolation=cv2.INTER_NEAREST_EXACT))

    def true_depth(self, frame: int, moment: float, focal, princpt, size: int) -> Float[ndarray, "h w"]:
        """z, mm, of everything in a window of `size` px, `moment` frame times after a frame."""
        scene, m, backdrop = self.scene, self.materials, self.backdrop
        vertices = self.between(scene.vertices, frame, moment)
        near = rasterise(vertices, m.faces, focal, princpt, (size, size), cull=True).inv_depth
        rotation, position = (
            self.between(x, frame, moment) for x in (scene.camera.rotation, scene.camera.position)
        )
        v, u = np.mgrid[:size, :size]
        normal = backdrop.normal @ rotation
        facing = normal[0] * (u - princpt[0]) / focal[0] + normal[1] * (v - princpt[1]) / focal[1] + normal[2]
        behind = facing / ((backdrop.anchor - position) @ backdrop.normal)  # 1 / z of the plane
        inverse = np.maximum(near, behind)
        return np.where(inverse > 0, 1 / np.maximum(inverse, 1e-9), 0)

    def mask(self, frame: int) -> Bool[ndarray, "h w"]:
        """The pixels in which the hand is seen at a frame's own time."""
        scene, m = self.scene, self.materials
        size = (self.size, self.size)
        camera = scene.focal[frame], scene.princpt[frame]
        face = rasterise(scene.vertices[frame], m.faces, *camera, size, cull=True).face
        return self.inside(frame, (face >= 0) & (face < m.num_hand_faces))

    def inside(self, frame: int, values: ndarray) -> ndarray:
        """Values of a window's pixels, 0 beyond the camera's own frame."""
        u, v = self.frame_bounds(frame)
        kept = np.zeros_like(values)
        kept[v, u] = values[v, u]
        return kept

    def background(self, frame: int, moment: float, buffers: Buffers) -> Float[ndarray, "h w 3"]:
        """What is behind the scene at a moment of a frame, linear light, in the shadow of what `buffers`
        sees."""
        scene = self.scene
        rotation, position = (
            self.between(x, frame, moment) for x in (scene.camera.rotation, scene.camera.position)
        )
        seen = self.backdrop.seen(scene.focal[frame], scene.princpt[frame], rotation, position, self.size)
        if self.face is None:
            return seen
        per_mm = scene.focal[frame, 0] / scene.joints[frame, :, 2].mean()
        return self.face.shade(seen, buffers.face >= 0, per_mm, self.lights.directions[0])

    def frame_bounds(self, frame: int) -> tuple[slice, slice]:
        """Columns and rows of the window that lie inside the camera's own frame, one at least: beyond them
        there is no picture."""
        scene = self.scene
        if not scene.bordered:
            return slice(0, self.size), slice(0, self.size)
        scale = scene.focal[frame] / scene.camera.focal
        size = np.array([scene.camera.width, scene.camera.height])
        low = (-0.5 - scene.camera.princpt) * scale + scene.princpt[frame]
        high = (size - 0.5 - scene.camera.princpt) * scale + scene.princpt[frame]
        start, stop = (np.clip(np.rint(x + 0.5), 0, self.size).astype(int) for x in (low, high))
        start = np.minimum(start, self.size - 1)
        stop = np.maximum(stop, start + 1)
        return slice(start[0], stop[0]), slice(start[1], stop[1])

    def moments(self, frame: int) -> tuple[list[float], int]:
        """When the shutter's samples are taken, in frames about the frame's own time, and samples per pixel
        edge in each."""
        scene, m = self.scene, self.materials
        points = scene.vertices[frame - 1 : frame + 2, ::7]
        uv = points[..., :2] / np.maximum(points[..., 2:], 50.0) * scene.focal[frame]
        travel = np.linalg.norm(uv[2] - uv[0], axis=-1) / self.span(frame) * self.film.shutter
        inside = np.abs(uv[1] + scene.princpt[frame] - self.size / 2).max(-1) < self.size / 2
        hand = inside[: m.num_body_vertices // 7]
        hand_travel = travel[: len(hand)][hand].max(initial=0.0)
        if hand_travel < SHARP_PX and travel[inside].max(initial=0.0) < 2 * SHARP_PX:
            return [0.0], SUPERSAMPLES
        count = int(np.digitize(travel[inside].max(), self.film.blur_steps)) * 2 + 3
        return list(self.film.shutter * (np.arange(count) - count // 2) / count), 1

    def camera_moves(self, frame: int) -> bool:
        """Whether the background moves visibly within a frame."""
        camera = self.scene.camera
        change = np.abs(camera.rotation[frame + 1] - camera.rotation[frame - 1]).max()
        turn = change * self.scene.focal[frame, 0]
        return bool(turn * 2 / self.span(frame) * self.film.shutter > 1.0)

    def between(self, values: Float[ndarray, "t ..."], frame: int, moment: float) -> Float[ndarray, "..."]:
        """The parabola through a frame and its neighbours, `moment` frame times away from the frame."""
        if moment == 0.0:
            return values[frame]
        moments, near = self.scene.clock.moments, slice(frame - 1, frame + 2)
        return parabola(values[near], moments[near] - moments[frame], moment)

    def span(self, frame: int) -> float:
        """Frame times from the exposure before a frame to the one after it."""
        return float(self.scene.clock.moments[frame + 1] - self.scene.clock.moments[frame - 1])

    def lit(self, frame: int) -> Float[ndarray, "v 3"]:
        """Lit colours of all vertices at a frame, linear light."""
        scene, lights = self.scene, self.lights
        m = self.materials
        vertices = scene.vertices[frame]
        normals = [
            vertex_normals(vertices[: m.num_body_vertices], scene.body_faces),
            *(thing.normals(frame) for thing in scene.things),
        ]
        normals = np.ascontiguousarray(np.concatenate(normals), np.float32)
        view = -vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
        shadow = np.ones(len(vertices), np.float32)
        shadow[: m.num_body_vertices] = cast_shadow(
            vertices, m.faces, m.num_body_vertices, lights.directions[0], lights.shadow
        )
        hands = [scene.joints[frame]]
        hands += [
            thing.joints @ thing.rotation[frame].T + thing.position[frame]
            for thing in scene.things
            if thing.joints is not None
        ]
        opened = openness(vertices, normals, np.stack(hands), self.contact)
        out = np.empty((len(vertices), 3), np.float32)
        light_vertices(
            *(m.albedo, normals, view, lights.directions, lights.colours, m.wrap),
            *(lights.ambient(normals), shadow, opened, m.gloss, out),
        )
        return out

    def rasterise_hand(self, vertices: Float[ndarray, "v 3"], focal, princpt, factor: int) -> Buffers:
        """The hand alone."""
        m, buffers = self.materials, self.buffers[factor]
        buffers.clear()
        camera = supersampled_camera(focal, princpt, factor)
        return rasterise(
            vertices, m.faces[: m.num_hand_faces], *camera, buffers.face.shape, into=buffers, cull=True
        )

    def rasterise_rest(
        self, vertices: Float[ndarray, "v 3"], focal, princpt, factor: int, bounds: tuple[slice, slice]
    ) -> float:
        """Adds everything else to what `rasterise_hand` left; returns the fraction of the hand's samples
        inside `bounds` that things cover.

        Things go in before the forearm, so that the arm does not count as hiding the hand.
        """
        m, buffers = self.materials, self.buffers[factor]
        camera, shape = supersampled_camera(focal, princpt, factor), buffers.face.shape
        u, v = (slice(bound.start * factor, bound.stop * factor) for bound in bounds)
        inside = buffers.face[v, u]
        alone = np.count_nonzero(inside >= 0)

        def draw(first: int, stop: int | None) -> None:
            faces = m.faces[first:stop]
            rasterise(vertices, faces, *camera, shape, into=buffers, cull=True, first_face=first)

        draw(m.num_body_faces, None)
        seen = np.count_nonzero((inside >= 0) & (inside < m.num_hand_faces))
        draw(m.num_hand_faces, m.num_body_faces)
        return 1.0 - seen / max(alone, 1)
