from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np

from tempohand.render import rasterise, render
from tempohand.synthetic.film import Film, FilmConfig, expose
from tempohand.synthetic.objects import sheet

QUIET = FilmConfig(
    exposure_stops=(0.0, 0.0),
    low_light_probability=0.0,
    low_light_stops=(1.0, 1.0),
    low_light_noise=(3.0, 3.0),
    low_light_shutter=2.0,
    colour_cast=0.0,
    noise=(1e-6, 1e-6),
    defocus=(0.0, 0.0),
    shutter=(0.4, 0.4),
    blur_steps=(6.0, 16.0),
    jpeg_quality=(95, 95),
)


def test_exposing_without_light_or_texture_is_rendering():
    rng = np.random.default_rng(0)
    mesh = sheet(120.0, 100.0, 0.3)
    vertices, colours = mesh.vertices + [0, 0, 300], rng.random((len(mesh.vertices), 3)).astype(np.float32)
    background = rng.random((64, 64, 3)).astype(np.float32)
    expected = render(
        vertices, mesh.faces, colours, (150, 150), (31.5, 31.5), (64, 64), background=background, antialias=2
    )
    buffers = rasterise(vertices, mesh.faces, (300, 300), (63.5, 63.5), (128, 128))
    out = np.zeros((64, 64, 3), np.float32)
    surfaces = SimpleNamespace(
        faces=mesh.faces.astype(np.int32),
        uv=mesh.uv.astype(np.float32),
        layer=np.zeros(len(mesh.faces), np.int32),
        textures=np.ones((1, 4, 4, 3), np.float32),
        sizes=np.array([4]),
        num_hand_faces=len(mesh.faces),
    )
    for share in (0.25, 0.75):
        camera = {
            "dark": np.ones((64, 64), np.float32),
            "factor": 2,
            "share": share,
            "background": background,
        }
        expose(buffers, surfaces, colours, **camera, out=out)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_development_keeps_order_and_adds_the_noise_asked_for():
    rng = np.random.default_rng(1)
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32)[:, None], (64, 1, 3)).reshape(64, 64, 3)
    picture = Film(rng, QUIET).develop(rng, ramp)
    assert (np.diff(picture[0, :, 1].astype(int)) >= 0).all() and np.ptp(picture[0, :, 1]) > 200
    noisy = Film(rng, replace(QUIET, noise=(6.0, 6.0)))
    grey = noisy.develop(rng, np.full((200, 200, 3), 0.21, np.float32))
    assert 4.0 < grey.std((0, 1)).mean() < 9.0
    decoded = cv2.imdecode(np.frombuffer(noisy.encode(picture), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(decoded.astype(int) - picture).mean() < 3


def test_low_light_is_darker_noisier_and_more_blurred_at_once():
    config = replace(QUIET, noise=(2.0, 2.0))
    pair = [
        Film(np.random.default_rng(3), replace(config, low_light_probability=chance)) for chance in (0.0, 1.0)
    ]
    assert pair[1].shutter == 2 * pair[0].shutter
    grey = np.full((200, 200, 3), 0.21, np.float32)
    bright, dark = (film.develop(np.random.default_rng(4), grey).astype(float) for film in pair)
    assert dark.mean() < 0.85 * bright.mean() and dark.std((0, 1)).mean() > 1.8 * bright.std((0, 1)).mean()
    longest = Film(np.random.default_rng(3), replace(config, low_light_probability=1.0, shutter=(0.8, 0.8)))
    assert longest.shutter == 1.0, "never longer than the frame time"
