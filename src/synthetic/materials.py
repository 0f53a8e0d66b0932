"""Colour and surface of everything in a scene: skin or glove, cloth, bracelet, things."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int32
from numpy import ndarray

from tempohand.skeleton import NUM_VERTICES
from tempohand.synthetic.atlas import METALS, draw_skin
from tempohand.synthetic.hand_kit import HandKit
from tempohand.synthetic.occluders import TEXTURE_SIZE
from tempohand.synthetic.scene import Scene
from tempohand.synthetic.skin import skin_colours, to_linear
from tempohand.synthetic.skins import Skins
from tempohand.synthetic.texture import colour, noise, pattern

# Depth of what is drawn on the skin: old hands and young ones, hard light and soft.
CREASES, VEINS = (0.25, 1.1), (0.0, 0.22)
PHOTOGRAPHED = 0.25  # of that depth is drawn on photographed skin
DEPTH = 0.7, 1.35  # contrast of a photograph's creases, nails and mottling
BAND_RINGS = (2, 4)  # a bracelet or watch begins at one of these rings of the forearm, and ends at the next


@dataclass(frozen=True)
class LookConfig:
    """What is on the hand, and how its parts shade each other. Ranges are (least, greatest)."""

    drawn_skin: bool  # creases, palm lines, nails, veins are drawn finer than the hand's vertices
    ring_probability: float  # of a finger ring, where skin is drawn
    band_probability: float  # of a bracelet or a watch
    glove_probability: float
    photographed_probability: float  # of skin from a photograph, where there are some
    contact: tuple[float, float]  # strength of the darkening where parts of hands come close; 0: none


class Materials:
    """Colour and surface of every vertex and face of a scene.

    albedo, wrap [V, 3], gloss [V], uv [V, 2] of vertices (`lighting.light_vertices`); faces [F, 3] and layer
    [F], the texture of each; textures [L, S, S, 3], factors on the lit colour, of which each fills its first
    sizes [L] rows and columns; tone [3]: the person's skin, linear. The hand's vertices and faces come first,
    then the forearm's, then those of things. skins: photographed ones, where there are some.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        look_rng: np.random.Generator,
        scene: Scene,
        kit: HandKit,
        look: LookConfig,
        skins: Skins | None = None,
    ):
        count, edge = scene.vertices.shape[1], len(kit.loop)
        self.num_body_vertices = int(kit.forearm_faces.max()) + 1
        self.num_hand_faces = len(kit.faces)
        self.num_body_faces = len(scene.body_faces)
        self.albedo = np.ones((count, 3), np.float32)
        self.wrap = np.zeros((count, 3), np.float32)
        self.gloss = np.zeros(count, np.float32)
        self.uv = np.zeros((count, 2), np.float32)
        ring = np.arange(self.num_body_vertices - NUM_VERTICES) // edge
        cloth = np.concatenate([np.zeros(NUM_VERTICES, bool), ring >= scene.cloth_from])
        # A generator of its own: what is not photographed changes nothing else.
        (photo_rng,) = look_rng.spawn(1)
        photographed = skins is not None and photo_rng.random() < look.photographed_probability
        self.tone = self._colour_skin(
            rng, kit, cloth, 0.0 if photographed else 0.4 if look.drawn_skin else 1.0
        )
        photo = None
        if photographed:
            contrast = np.float32(photo_rng.uniform(*DEPTH))
            _, *sheets = skins.pick(photo_rng, self.tone)
            photo = [np.exp(contrast * sheet) for sheet in sheets]
        body = slice(0, self.num_body_vertices)
        self.wrap[body] = np.where(cloth[:, None], 0.1, rng.uniform(0.5, 1.3) * np.array([0.35, 0.18, 0.12]))
        self.gloss[body] = np.where(cloth, 0.0, rng.uniform(0.0, 0.12))
        self.uv[:NUM_VERTICES] = kit.skin.uv
        angle = np.arange(len(ring)) % edge
        self.uv[NUM_VERTICES:][: len(ring)] = np.column_stack([np.abs(angle / edge * 2 - 1) * 2, ring * 0.35])
        grain = 1 + rng.uniform(0.02, 0.07) * noise(rng, TEXTURE_SIZE, 1, 1.5)
        grain = grain + rng.uniform(0.0, 0.04) * noise(rng, TEXTURE_SIZE, 0, 1.0)
        textures = [np.repeat(grain[..., None], 3, axis=-1), _cloth(rng)]
        body_layer = cloth[scene.body_faces].any(1).astype(np.int32)
        self._dress(look_rng, scene, kit, look, body_layer, textures, photo)
        self._add_things(scene, body_layer, textures)

    def _colour_skin(
        self, rng: np.random.Generator, kit: HandKit, cloth: Bool[ndarray, "b"], lines: float
    ) -> Float[ndarray, "3"]:
        """Colours hand and arm where there is no cloth; returns the arm's colour, linear. lines: the depth of
        creases on the vertices; below 1 they come from a texture, and so do the nails."""
        skin = kit.skin
        if lines < 1.0:
            skin = replace(skin, nail=np.zeros(NUM_VERTICES, bool), crease=lines * skin.crease)
        hand, arm = skin_colours(rng, skin)
        edge = len(kit.loop)
        self.albedo[:NUM_VERTICES] = hand
        self.albedo[NUM_VERTICES : self.num_body_vertices] = arm
        wrist = hand[kit.loop]
        for k, share in enumerate((0.75, 0.5, 0.25)):  # the wrist's own colours fade into the arm's
            rows = slice(NUM_VERTICES + k * edge, NUM_VERTICES + (k + 1) * edge)
            self.albedo[rows] = share * wrist + (1 - share) * arm
        self.albedo[: self.num_body_vertices][cloth] = 1.0
        return arm

    def _add_things(self, scene: Scene, body_layer: Int32[ndarray, "f"], textures: list[ndarray]) -> None:
        """Surfaces of the things; then all faces and textures together."""
        faces, layers = [scene.body_faces], [body_layer]
        start = self.num_body_vertices
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
                    values[start:stop] = values[: self.num_body_vertices]
                layers.append(body_layer)
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
        layer: Int32[ndarray, "f"],
        textures: list[ndarray],
        photo: list[ndarray] | None,
    ) -> None:
        """Draws on the skin, or puts a glove over it; and a band about the wrist. Changes the `layer` of
        faces of hand and arm, and adds textures."""
        ring, band, gloved = (
            rng.random() < p for p in (look.ring_probability, look.band_probability, look.glove_probability)
        )
        edge, first_band = len(kit.loop), int(rng.integers(*BAND_RINGS))
        # Two triangles a quad: the faces between two rings are a row of the first half and a row of the
        # second.
        strip = self.num_hand_faces + edge * first_band + np.arange(edge)
        strip = np.concatenate([strip, strip + (self.num_body_faces - self.num_hand_faces - edge) // 2])
        if gloved:  # latex, or cloth; it ends where the sleeve begins, or at a ring before
            cuff = NUM_VERTICES + edge * min(scene.cloth_from, int(rng.integers(1, 6)))
            plain = rng.random() < 0.6
            self.albedo[:cuff] = to_linear(colour(rng, 0.4) / 255) if plain else 1.0
            self.wrap[:cuff], self.gloss[:cuff] = 0.1, rng.uniform(0.0, 0.3) if plain else 0.0
            if not plain:
                layer[scene.body_faces.max(1) < cuff] = len(textures)
                textures.append(_cloth(rng))
        elif look.drawn_skin or photo:
            self.uv[:NUM_VERTICES] = kit.atlas.uv
            layer[: self.num_hand_faces] = len(textures) + kit.atlas.back
            share = PHOTOGRAPHED if photo else 1.0
            depths = share * rng.uniform(*CREASES), share * rng.uniform(*VEINS)
            drawn = draw_skin(rng, kit.atlas, self.tone, *depths, ring, nails=photo is None)
            textures += [a * b for a, b in zip(drawn, photo)] if photo else drawn
        if band and first_band < scene.cloth_from:
            metal = METALS[rng.integers(len(METALS))] if rng.random() < 0.6 else colour(rng, 0.5) / 255
            # Two rings of vertices are skin on one side and band on the other: the band's texture undoes the
            # skin's colour.
            links = 1 + 0.25 * np.sign(np.sin(np.arange(TEXTURE_SIZE) * rng.uniform(0.2, 0.8)))
            layer[strip] = len(textures)
            stripes = np.ones((TEXTURE_SIZE, TEXTURE_SIZE, 1)) * links[:, None]
            textures.append(stripes * to_linear(np.clip(metal, 0, 1)) / self.tone)


def _cloth(rng: np.random.Generator) -> Float[ndarray, "s s 3"]:
    return to_linear(np.clip(pattern(rng, TEXTURE_SIZE) / 255, 0, 1))
