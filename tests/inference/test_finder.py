"""The hand finder as a source of boxes, with a network that sees white squares: right hands, and black ones:
left hands."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tempohand.batch import BoxPrediction
from tempohand.inference.finder import HandFinder, regions, to_crop, to_picture
from tempohand.inference.source import SourceFrame
from tempohand.model.network import Crop
from tempohand.model.registry import build_network
from tempohand.training.checkpoint import save_weights

SIZE, GRID = 64, 16
GREY = 120


class SquareFinder(nn.Module):
    """Sees squares of pure white and pure black, exactly, where all of one lies in the picture; nothing below
    5 px is seen."""

    crop = Crop(SIZE, SIZE, 4.0)

    def find(self, image):
        logits, boxes = (
            torch.full((len(image), 1, 2, GRID, GRID), -9.0),
            torch.zeros(len(image), 1, 4, GRID, GRID),
        )
        for place, picture in enumerate(image.permute(0, 2, 3, 1).numpy()):
            for side, mask in enumerate(((picture > 250).all(-1), (picture < 5).all(-1))):
                _, _, stats, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
                for (x, y, width, height, _), (u, v) in zip(stats[1:], centres[1:]):
                    if min(width, height) >= 5:
                        row, column = int((v + 0.5) / SIZE * GRID), int((u + 0.5) / SIZE * GRID)
                        logits[place, 0, side, row, column] = 2 + width / SIZE
                        corners = torch.tensor([x, y, x + width - 1, y + height - 1], dtype=torch.float32)
                        boxes[place, 0, :, row, column] = corners / SIZE - 0.5
        return BoxPrediction(logits, boxes)


def picture(width, height, squares):
    image = np.full((height, width, 3), GREY, np.uint8)
    for x0, y0, side, colour in squares:
        image[y0 : y0 + side, x0 : x0 + side] = colour
    return SourceFrame(0, 0.0, image, "")


@pytest.mark.parametrize("size", [(1280, 720), (300, 500), (64, 64), (31, 977)])
@pytest.mark.parametrize("tiles", [1, 2, 5])
def test_into_a_region_and_back(size, tiles):
    region = regions(size, tiles)
    rng = np.random.default_rng(0)
    boxes = torch.from_numpy(rng.uniform(-100, 1400, (len(region), 4)))
    torch.testing.assert_close(
        to_picture(to_crop(boxes, region, (SIZE, SIZE)), region, (SIZE, SIZE)), boxes, atol=1e-4, rtol=0
    )
    outer = (
        to_crop(region[:1], region[:1], (SIZE, SIZE))[0] + 0.5 / SIZE
    )  # the longer edge fills the crop, the other is in its middle
    assert outer.abs().max() == pytest.approx(0.5) and outer[:2].tolist() == pytest.approx(
        (-outer[2:]).tolist()
    )


@pytest.mark.parametrize("size", [(1280, 720), (300, 500), (64, 64)])
@pytest.mark.parametrize("tiles", [2, 3, 4])
def test_a_small_box_lies_in_a_tile(size, tiles):
    region, edge = regions(size, tiles)[1:].numpy(), max(size) / tiles
    assert (
        (region[:, 2:] - region[:, :2]).max() == pytest.approx(edge) == (region[:, 2:] - region[:, :2]).min()
    )
    rng, small = np.random.default_rng(0), edge / 3
    for _ in range(200):
        low = rng.uniform(0, np.array(size) - 1 - small)
        inside = (region[:, :2] <= low) & (region[:, 2:] >= low + small)
        assert inside.all(1).any()


@pytest.mark.parametrize("size", [(320, 180), (180, 320), (200, 200)])
def test_boxes_come_back_in_the_pictures_pixels(size):
    with HandFinder(SquareFinder(), max_hands=4) as finder:
        found = finder.detect(picture(*size, [(20, 30, 40, 255), (100, 90, 60, 0)]))
    step = max(size) / SIZE
    np.testing.assert_allclose(found[0].box, [100, 90, 159, 149], atol=2 * step)  # the surest first
    np.testing.assert_allclose(found[1].box, [20, 30, 59, 69], atol=2 * step)


def test_tiles_find_small_hands_once():
    frame = picture(640, 360, [(300, 160, 40, 255), (70, 300, 40, 0), (400, 60, 240, 255)])
    alone = HandFinder(SquareFinder(), max_hands=9).detect(frame)
    tiled = HandFinder(SquareFinder(), max_hands=9, tiles=3).detect(frame)
    assert len(alone) == 1, "the small ones have 4 px in the whole picture"
    centres = [(np.asarray(one.box[:2]) + one.box[2:]) / 2 for one in tiled]
    for square in ((319.5, 179.5), (89.5, 319.5)):
        assert sum(np.abs(centre - square).max() < 5 for centre in centres) == 1
    assert len(HandFinder(SquareFinder(), max_hands=2, tiles=3).detect(frame)) == 2


def test_nothing_there_is_no_hand_and_a_hand_is_one_whatever_its_side(monkeypatch):
    finder = HandFinder(SquareFinder(), max_hands=4)
    assert finder.detect(picture(100, 80, [])) == []
    find = finder.network.find

    def both(image):
        said = find(image)
        said.logits[:, :, 1] = said.logits[:, :, 0] - 0.5
        return said

    monkeypatch.setattr(finder.network, "find", both)
    found = finder.detect(picture(100, 80, [(20, 30, 30, 255)]))
    assert [one.is_right for one in found] == [None]


def test_a_box_whose_centre_is_not_in_the_picture_is_left_out(monkeypatch):
    finder = HandFinder(SquareFinder(), max_hands=4)
    find = finder.network.find

    def lower(image):
        said = find(image)
        said.box[:, :, [1, 3]] += 0.5
        return said

    monkeypatch.setattr(finder.network, "find", lower)
    assert finder.detect(picture(100, 40, [(20, 10, 20, 255)])) == []  # below the picture


@pytest.mark.parametrize("size", [(100, 40), (40, 100)])
def test_beyond_the_picture_the_finder_sees_its_edge(size, monkeypatch):
    seen, finder = [], HandFinder(SquareFinder(), max_hands=4, tiles=2)
    find = finder.network.find
    monkeypatch.setattr(finder.network, "find", lambda image: seen.append(image) or find(image))
    image = np.full((size[1], size[0], 3), GREY, np.uint8)
    image[0], image[-1], image[:, 0], image[:, -1] = 60, 90, 150, 180
    finder.detect(SourceFrame(0, 0.0, image, ""))
    whole = seen[0][0, 0].numpy()  # [S, S], the picture in its middle half
    first, last = (whole[:10], whole[-10:]) if size[0] > size[1] else (whole.T[:10], whole.T[-10:])
    edges = (60, 90) if size[0] > size[1] else (150, 180)
    middle = slice(8, -8)
    assert (first[:, middle] == edges[0]).all() and (last[:, middle] == edges[1]).all()


def finder_checkpoint(folder):
    options = {"stem": 16, "stages": [[16, 1], [32, 1], [32, 1], [32, 1]]}
    settings = {"name": "finder", "num_frame": 1, "size": SIZE, "expansion": 4.0, "width": 32}
    settings["backbone"] = {"name": "tempohand_tiny", "weights": None, "options": options}
    net = build_network(settings)
    with torch.no_grad():
        net.head[-1].bias[0] = 5.0  # sees right hands everywhere
    save_weights(folder, net.state_dict(), {"network": settings})
    return folder


def test_predict_finds_hands_with_a_checkpoint(tmp_path, video_tools, predict):
    moving_pictures, write_video = video_tools
    clip = write_video(tmp_path / "clip.mkv", moving_pictures(4))
    folder = finder_checkpoint(tmp_path / "finder")
    with np.load(
        predict(clip, "--finder", folder, "--max-hands", 2, "--finder-tiles", 2, "--no-overlay")
        / "predictions.npz"
    ) as result:
        assert (
            len(result["frame"]) == 8 and result["is_right"].all() and len(np.unique(result["hand_id"])) >= 2
        )


@pytest.mark.parametrize(
    "more, message",
    [
        (["--max-hands", 0], "`max_hands` is at least 1, not 0"),
        (["--finder-tiles", 0], "`tiles` is at least 1"),
    ],
)
def test_numbers_below_one_are_refused(tmp_path, video_tools, predict, more, message):
    moving_pictures, write_video = video_tools
    clip = write_video(tmp_path / "clip.mkv", moving_pictures(2))
    with pytest.raises(ValueError, match=message):
        predict(clip, "--finder", finder_checkpoint(tmp_path / "finder"), *more)


def test_pictures_of_their_own_are_looked_at_in_tiles_and_videos_are_not(
    tmp_path, video_tools, predict, monkeypatch
):
    moving_pictures, write_video = video_tools
    clip, folder = (
        write_video(tmp_path / "clip.mkv", moving_pictures(2)),
        finder_checkpoint(tmp_path / "finder"),
    )
    cv2.imwrite(str(tmp_path / "one.png"), moving_pictures(1)[0])
    asked, init = [], HandFinder.__init__
    monkeypatch.setattr(
        HandFinder,
        "__init__",
        lambda self, *a, tiles, **more: asked.append(tiles) or init(self, *a, tiles=tiles, **more),
    )
    for path, words in (
        (tmp_path / "one.png", []),
        (clip, []),
        (tmp_path / "one.png", ["--finder-tiles", 1]),
        (clip, ["--finder-tiles", 3]),
    ):
        predict(path, "--finder", folder, "--no-overlay", *words)
    assert asked == [2, 1, 1, 3]
