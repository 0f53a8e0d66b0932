"""Photographed skin, with pictures painted here: nails, creases and tone at places of MakeHuman's mesh."""

import cv2
import numpy as np
import pytest

from tempohand.hand.files import OPEN_HAND
from tempohand.hand.surface import NAIL, open_hand_region, open_hand_source
from tempohand.synthetic.archive import Archive
from tempohand.synthetic.atlas import ATLAS_SIZE
from tempohand.synthetic.given import Given
from tempohand.synthetic.render_sequence import SequenceRenderer
from tempohand.synthetic.scene import compose
from tempohand.synthetic.skins import Skins

HEIGHT, WIDTH = 408, 848


def triangles(kit):
    """A stand-in for the source's triangles: the open hand's, between those vertices that it has of it."""
    source = open_hand_source()
    same = np.linalg.norm(kit.skin.rest[:, None] - source, axis=-1).argmin(1)
    return same, same[kit.faces]


@pytest.fixture(scope="module")
def folder(kit, tmp_path_factory):
    """Pictures in which the palm is on the left and the back on the right, nails white, and a palm line
    black."""
    root = tmp_path_factory.mktemp("skins")
    same, faces = triangles(kit)
    side = kit.atlas.back[:, None, None]
    uv = kit.atlas.uv[kit.faces] * [0.5, 1.0] + side * [0.5, 0.0]
    # The highest index has to occur: the mesh is recognised by it.
    last = np.full((1, 3), len(open_hand_source()) - 1)
    np.savez(
        root / "hand_uv.npz",
        faces_R=np.concatenate([faces, last]),
        face_uv_crop_R=np.concatenate([uv, np.zeros((1, 3, 2))]),
    )
    for name, tone in (("pale", 200), ("dark", 60)):
        picture = np.full((HEIGHT, WIDTH, 3), tone, np.uint8)
        for vertex in np.flatnonzero(open_hand_region() == NAIL):
            place = kit.atlas.uv[vertex] * [0.5, 1.0] + [0.5, 0.0]
            cv2.circle(picture, tuple(int(x) for x in place * [WIDTH, HEIGHT]), 5, (250, 250, 250), -1)
        place = kit.atlas.uv[kit.skin.palm.argmax()] * [0.5, 1.0]
        cv2.circle(picture, tuple(int(x) for x in place * [WIDTH, HEIGHT]), 8, (20, 20, 20), -1)
        cv2.imwrite(str(root / f"hands_{name}.png"), picture)
    return root


@pytest.fixture(scope="module")
def skins(folder, kit):
    return Skins(Archive(folder, "skins"), kit.skin, kit.atlas, kit.faces)


def at(sheet, kit, vertices):
    column, row = (kit.atlas.uv[vertices] * ATLAS_SIZE).astype(int).T
    return sheet[row, column].mean(-1)


def test_the_open_hand_is_made_of_the_sources_vertices(kit):
    gap = np.linalg.norm(kit.skin.rest[:, None] - open_hand_source(), axis=-1).min(1)
    assert gap.max() < 0.02, "mm"


def test_nails_are_on_the_back_and_lines_on_the_palm(skins, kit):
    for name in skins.names:
        photo = skins.load(name)
        nails = open_hand_region() == NAIL
        on_back, on_palm = (np.median(at(sheet, kit, nails)) for sheet in (photo.back, photo.palm))
        assert on_back > 0.15 and abs(on_palm) < 0.1
        (line,) = at(photo.palm, kit, np.array([kit.skin.palm.argmax()]))
        (above,) = at(photo.back, kit, np.array([kit.skin.palm.argmax()]))
        assert line < -0.3 and abs(above) < 0.1


def test_a_photographs_own_tone_is_taken_away_and_the_arm_is_plain(skins, kit):
    lightness = {name: skins.load(name).lightness for name in skins.names}
    assert lightness["hands_pale.png"] > 5 * lightness["hands_dark.png"]
    for name in skins.names:
        photo = skins.load(name)
        plain = ~(open_hand_region() == NAIL)
        assert np.abs(np.median(at(photo.back, kit, plain))) < 0.05
        for sheet in (photo.palm, photo.back):
            assert np.abs(at(sheet, kit, kit.loop)).max() < 0.08


def test_people_get_photographs_of_hands_like_theirs(skins):
    rng = np.random.default_rng(0)
    for tone, name in ((0.5, "hands_pale.png"), (0.03, "hands_dark.png")):
        assert skins.pick(rng, np.full(3, tone)) is skins.load(name), name


def test_skin_alone_changes_and_gloves_stay(settings, kit, skins):
    def shot(given, seed, *extra):
        config = settings("synthetic-wide", "camera.image_size=48", "look.photographed_probability=1", *extra)
        rng = np.random.default_rng(seed)
        return SequenceRenderer(rng, compose(rng, kit, 3, config), kit, config, given)

    for seed in range(3):
        for gloves in (0, 1):
            glove = f"look.glove_probability={gloves}"
            photo, drawn = (shot(given, seed, glove) for given in (Given(skins=skins), Given()))
            a, b = photo.materials, drawn.materials
            np.testing.assert_array_equal(photo.scene.vertices, drawn.scene.vertices)
            np.testing.assert_array_equal(a.tone, b.tone)
            np.testing.assert_array_equal(a.layer, b.layer)
            np.testing.assert_array_equal(photo.backdrop.texture, drawn.backdrop.texture)
            assert np.array_equal(a.textures, b.textures) == bool(gloves)
            assert not gloves or np.array_equal(a.albedo[:778], b.albedo[:778])
            off = shot(Given(skins=skins), seed, glove, "look.photographed_probability=0")
            np.testing.assert_array_equal(off.materials.textures, b.textures)
        rows = [list(shot(Given(skins=skins), seed).rows("a")) for _ in range(2)]
        assert [row["image"] for row in rows[0]] == [row["image"] for row in rows[1]]


def test_tables_of_another_mesh_are_one_line(folder, kit, tmp_path):
    def load():
        Skins(Archive(tmp_path, "skins"), kit.skin, kit.atlas, kit.faces)

    (tmp_path / "hands_a.png").write_bytes((folder / "hands_pale.png").read_bytes())
    with pytest.raises(ValueError, match="lacks the file hand_uv.npz"):
        load()
    for data, complaint in ((b"nothing", "cannot be read"), (OPEN_HAND.read_bytes(), "cannot be read")):
        (tmp_path / "hand_uv.npz").write_bytes(data)
        with pytest.raises(ValueError, match=complaint):
            load()
    np.savez(tmp_path / "hand_uv.npz", faces_R=kit.faces, face_uv_crop_R=np.zeros((*kit.faces.shape, 2)))
    with pytest.raises(ValueError, match="another mesh"):
        load()
