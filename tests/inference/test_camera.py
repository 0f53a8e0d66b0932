import math

import numpy as np
import pytest

from tempohand.inference.camera import CameraChoice


def test_the_default_is_the_diagonal_about_the_centre():
    focal, princpt = CameraChoice().camera((640, 480))
    np.testing.assert_array_equal(focal, [800, 800])
    np.testing.assert_array_equal(princpt, [319.5, 239.5])
    assert "ASSUMED" in CameraChoice().describe((640, 480)) and "depth scales" in CameraChoice().describe(
        (640, 480)
    )


@pytest.mark.parametrize("size", [(640, 480), (480, 640)])
@pytest.mark.parametrize("fov", [20, 60, 90, 150])
def test_field_of_view_spans_the_longer_side(size, fov):
    focal, _ = CameraChoice(fov_deg=fov).camera(size)
    assert math.degrees(2 * math.atan(320 / focal[0])) == pytest.approx(fov)
    assert f"{fov:.1f} degrees" in CameraChoice(fov_deg=fov).describe(size)


def test_what_a_picture_tells_counts_where_nothing_is_given():
    focal, _ = CameraChoice().camera((640, 480), told=1000.0)
    assert focal.tolist() == [1000.0] * 2
    assert CameraChoice(focal_px=900).camera((640, 480), told=1000.0)[0].tolist() == [900] * 2
    assert CameraChoice(fov_deg=90).camera((640, 480), told=1000.0)[0][0] == pytest.approx(320)
    said = CameraChoice().describe((640, 480), 1000.0)
    assert said.startswith("camera: focal length 1000.0 px (field of view 35.5 degrees") and "EXIF;" in said
    several = CameraChoice().describe(None, 1000.0)
    assert "EXIF where it has one (the first: 1000.0 px), else ASSUMED" in several
    assert "EXIF" not in CameraChoice(focal_px=900).describe((640, 480), 1000.0)


def test_given_values_are_taken():
    focal, princpt = CameraChoice(focal_px=1234.5, princpt=(10, 20)).camera((640, 480))
    assert focal.tolist() == [1234.5] * 2 and princpt.tolist() == [10, 20]
    assert "ASSUMED" not in CameraChoice(focal_px=1234.5).describe((640, 480))


@pytest.mark.parametrize(
    "values",
    [
        {"focal_px": 0},
        {"focal_px": -3},
        {"focal_px": math.nan},
        {"fov_deg": 0},
        {"fov_deg": 180},
        {"fov_deg": math.nan},
        {"focal_px": 5, "fov_deg": 60},
        {"princpt": (math.inf, 0.0)},
    ],
)
def test_values_that_no_camera_has_are_refused(values):
    with pytest.raises(ValueError, match="`focal_px`|`fov_deg`|`princpt`"):
        CameraChoice(**values)


def test_the_same_view_at_another_resolution_has_the_same_rays():
    first, small = (1280, 720), (854, 480)
    for choice in (CameraChoice(), CameraChoice(fov_deg=60), CameraChoice(focal_px=900, princpt=(600, 380))):
        focal, princpt = choice.camera(small, first)
        for corner in ((0.0, 0.0), (1.0, 0.0), (0.3, 0.8)):  # of the picture's outer edges
            rays = [
                (np.array(corner) * size - 0.5 - centre) / length
                for size, (length, centre) in ((first, choice.camera(first)), (small, (focal, princpt)))
            ]
            np.testing.assert_allclose(*rays, rtol=1e-9)
    turned = CameraChoice(focal_px=900).camera((720, 1280), first)
    np.testing.assert_array_equal(turned[0], [900, 900])
