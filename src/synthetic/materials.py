"""Colour and surface of everything in a scene: skin or glove, cloth, bracelet, things."""

from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from tempohand.skeleton import NUM_VERTICES
from tempohand.synthetic.atlas import METALS, draw_skin
from tempohand.synthetic.occluders import TEXTURE_SIZE
from tempohand.synthetic.scene import HandKit, Scene
from tempohand.synthetic.skin import skin_colours, to_linear
from tempohand.synthetic.texture import colour, noise, pattern

CREASES, VEINS = (
    (0.25, 1.1),
    (0.0, 0.22),
)  # depth of what is drawn on the skin: old hands and young ones, hard light and soft
BAND_RINGS = (2, 4)  # a bracelet or watch begins at one of these rings of the forearm, and ends at the next


@dataclass(frozen=True)
class LookConfig:
    """What is on the hand, and how its parts shade each other. Ranges are (least, greatest)."""

    drawn_skin: bool  # creases, palm lines, nails, veins are drawn finer than the hand's vertices
    ring_probability: float  # of a finger ring, where skin is drawn
    band_probability: float  # of a bracelet or a watch
    glove_probability: float
    contact: tuple[float, float]  # strength of the darkening where parts of hands come close; 0: none


class Materials:
    """Colour and surface of every vertex and face of a scene."""

    def __init__(
        self,
        rng: np.random.Generator,
        look_rng: np.random.Generator,
        scene: Scene,
        kit: HandKit,
        look: LookConfig,
    ):
        skin = (
            replace(kit.skin, nail=np.zeros(NUM_VERTICES, bool), crease=0.4 * kit.skin.crease)
            if look.drawn_skin
            else kit.skin
        )
        hand, arm = skin_colours(rng, skin)
        self.tone = arm  # of the person's skin, linear
        count, arm_count = scene.vertices.shape[1], int(kit.forearm_faces.max()) + 1
        edge = len(kit.loop)
        ring = (np.arange(arm_count - NUM_VERTICES)) // edge
        cloth = np.concatenate([np.zeros(NUM_VERTICES, bool), ring >= scene.cloth_from])
        self.albedo = np.ones((count, 3), np.float32)
        self.albedo[:NUM_VERTICES] = hand
        # The wrist's own colours fade into the arm's.
        self.albedo[NUM_VERTICES:arm_count] = arm
        wrist = hand[kit.loop]
        for k, share in enumerate((0.75, 0.5, 0.25)):
            rows = slice(NUM_VERTICES + k * edge, NUM_VERTICES + (k + 1) * edge)
            self.albedo[rows] = share * wrist + (1 - share) * arm
        self.albedo[:arm_count][cloth] = 1.0
        self.wrap, self.gloss = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
        self.wrap[:arm_count] = np.where(
            cloth[:, None], 0.1, rng.uniform(0.5, 1.3) * np.array([0.35, 0.18, 0.12])
        )
        self.gloss[:arm_count] = np.where(cloth, 0.0, rng.uniform(0.0, 0.12))
        self.uv = np.zeros((count, 2), np.float32)
        self.uv[:NUM_VERTICES] = kit.skin.uv
        angle = np.arange(arm_count - NUM_VERTICES) % edge
        self.uv[NUM_VERTICES:arm_count] = np.column_stack([np.abs(angle / edge * 2 - 1) * 2, ring * 0.35])
        skin_texture = (
            1
            + rng.uniform(0.02, 0.07) * noise(rng, TEXTURE_SIZE, 1, 1.5)
            + rng.uniform(0.0, 0.04) * noise(rng, TEXTURE_SIZE, 0, 1.0)
        )
        textures = [
            np.repeat(skin_texture[..., None], 3, axis=-1),
            to_linear(np.clip(pattern(rng, TEXTURE_SIZE) / 255, 0, 1)),
        ]
        own = cloth[scene.arm_faces].any(1).astype(np.int32)
        self.arm_vertices, self.hand_faces, self.arm_faces = arm_count, len(kit.faces), len(scene.arm_faces)
        self._dress(look_rng, scene, kit, look, arm, own, textures)
        faces, layers, start = [scene.arm_faces], [own], arm_count
        for thing in scene.things:
            stop = start + len(thing.mesh.vertices)
            faces.append(thing.mesh.faces + start)
            if thing.joints is None:
                self.gloss[start:stop] = thing.gloss
                self.uv[start:stop] = thing.mesh.uv
                layers.append(np.full(len(thing.mesh.faces), len(textures), np.int32))
                textures.append(thing.texture)
            else:  # the same person's other hand
                for values in (self.albedo, self.wrap, self.gloss, self.uv):
                    values[start:stop] = values[:arm_count]
                layers.append(own)
            start = stop
        self.faces = np.ascontiguousarray(np.concatenate(faces), np.int32)
        self.layer = np.concatenate(layers).astype(np.int32)
        # One stack: smaller textures fill a corner of their place.
        self.sizes = np.array([len(texture) for texture in textures])
        self.textures = np.zeros((len(textures), self.sizes.max(), self.sizes.max(), 3), np.float32)
        for place, texture in zip(self.textures, textures):
            place[: len(texture), : len(texture)] = texture

    def _dress(
        self,
        rng: np.random.Generator,
        scene: Scene,
        kit: HandKit,
        look: LookConfig,
        tone: ndarray,
        own: ndarray,
        textures: list[ndarray],
    ) -> None:
        """Draws on the skin, or puts a glove over it; and a band about the wrist. Changes the layers `own` of
        hand and arm and adds textures."""
        ring, band, gloved = (
            rng.random() < p for p in (look.ring_probability, look.band_probability, look.glove_probability)
        )
        edge, first_band = len(kit.loop), int(rng.integers(*BAND_RINGS))
        # Two triangles a quad: the faces between two rings are a row of the first half and a row of the
        # second.
        strip = self.hand_faces + edge * first_band + np.arange(edge)
        strip = np.concatenate([strip, strip + (self.arm_faces - self.hand_faces - edge) // 2])
        if gloved:  # latex, or cloth; it ends where the sleeve begins, or at a ring before
            cuff = NUM_VERTICES + edge * min(scene.cloth_from, int(rng.integers(1, 6)))
            plain = rng.random() < 0.6
            self.albedo[:cuff] = to_linear(colour(rng, 0.4) / 255) if plain else 1.0
            self.wrap[:cuff], self.gloss[:cuff] = 0.1, rng.uniform(0.0, 0.3) if plain else 0.0
            if not plain:
                own[scene.arm_faces.max(1) < cuff] = len(textures)
                textures.append(to_linear(np.clip(pattern(rng, TEXTURE_SIZE) / 255, 0, 1)))
        elif look.drawn_skin:
            self.uv[:NUM_VERTICES] = kit.atlas.uv
            own[: self.hand_faces] = len(textures) + kit.atlas.back
            textures += draw_skin(rng, kit.atlas, tone, rng.uniform(*CREASES), rng.uniform(*VEINS), ring)
        if band and first_band < scene.cloth_from:
            metal = METALS[rng.integers(len(METALS))] if rng.random() < 0.6 else colour(rng, 0.5) / 255
            # Two rings of vertices are skin on one side and band on the other: the band's texture undoes the
            # skin's colour.
            links = 1 + 0.25 * np.sign(np.sin(np.arange(TEXTURE_SIZE) * rng.uniform(0.2, 0.8)))
            own[strip] = len(textures)
            textures.append(
                np.ones((TEXTURE_SIZE, TEXTURE_SIZE, 1))
                * links[:, None]
                * to_linear(np.clip(metal, 0, 1))
                / tone
            )
