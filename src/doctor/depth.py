"""Checks of stored depth: is there any at the hands, and does it lie over its picture?"""

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tempohand.data.depth_consistency import depth_faults
from tempohand.data.pictures import BadPicture
from tempohand.data.table import FrameTable
from tempohand.doctor.result import Result, judge
from tempohand.doctor.subject import evenly_spread

PICTURES = 160  # of each split
EDGE = 128  # px that pictures are brought to, to be compared with each other
FARTHEST = 0.3  # of a picture's edge: an offset that is looked for
STEP_MM = 20.0  # between neighbours, of an edge in depth
CLEAR = 4.0  # standard deviations that the best offset stands out by, or it is none
WARN_PX, FAIL_PX = 8.0, 20.0  # of the stored picture


def check_depth(tables: list[FrameTable]) -> list[Result]:
    """The results of all checks of depth on some rows of each table that has any."""
    wrong = looked = 0
    detail = ""
    correlation, width = np.zeros((EDGE, EDGE)), []
    for table in tables:
        rows = evenly_spread(len(table), PICTURES) if "depth" in table.inputs else ()
        for row in map(int, rows):
            try:
                picture, depth = table.image(row), table.depth(row)
            except BadPicture:
                continue  # for the checks of pictures to say
            if depth is None:
                continue
            label = {name: column[0] for name, column in table.labels(np.array([row])).items()}
            faults = depth_faults(depth, label)
            looked, wrong = looked + 1, wrong + bool(faults)
            detail = detail or "; ".join(text for _, text in faults)
            correlation += _correlation(picture, depth)
            width.append(max(picture.shape[:2]))
    if not looked:
        return []
    return [_agrees(wrong, looked, detail), _aligned(correlation, float(np.median(width)))]


def _agrees(wrong: int, looked: int, detail: str) -> Result:
    cause = f"the first: {detail}. Remedy: tempohand check-data lists every such row." if wrong else ""
    text = f"{looked - wrong} of {looked}"
    return Result("depth agrees with labels", text, "all", judge(wrong / looked, 0.01, 0.2), cause)


def _aligned(correlation: Float[ndarray, "e e"], width: float) -> Result:
    name, expected = "depth lies over its picture", f"edges within {WARN_PX:g} px"
    reach = int(FARTHEST * EDGE)
    near = np.roll(correlation, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]
    down, right = np.unravel_index(near.argmax(), near.shape)
    clear = (near.max() - np.median(near)) / max(float(near.std()), 1e-12)
    if clear < CLEAR:
        return Result(name, "its edges and the pictures' have nothing in common: it cannot be told", expected)
    offset = np.array([right - reach, down - reach]) * width / EDGE
    far = float(np.abs(offset).max())
    text = f"the picture's edges {offset[0]:+.0f}, {offset[1]:+.0f} px (right, down) from the depth's"
    verdict = "FAILED" if far > FAIL_PX else "warning" if far > WARN_PX else "ok"
    cause = (
        "Depth and colour are two cameras' pictures. Remedy: register depth to the colour picture (docs/"
        "datasets.md, rgbd, says by which tool), and crop and resize both alike."
    )
    return Result(name, text, expected, verdict, cause if verdict != "ok" else "", far)


def _correlation(picture: ndarray, depth: Float[ndarray, "h w"]) -> Float[ndarray, "e e"]:
    """Of the picture's edges with the depth's, for every (cyclic) offset of the picture's, down and right."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    edges = np.minimum(edges, np.percentile(edges, 97))
    around = np.ones((3, 3), np.uint8)
    near = cv2.erode(np.where(depth > 0, depth, np.float32(1e6)), around)
    steps = ((cv2.dilate(depth, around) - near > STEP_MM) & (near < 1e6)).astype(np.float32)
    maps = [cv2.resize(values, (EDGE, EDGE), interpolation=cv2.INTER_AREA) for values in (edges, steps)]
    maps = [(values - values.mean()) / max(float(values.std()), 1e-6) for values in maps]
    one, other = (np.fft.rfft2(values) for values in maps)
    return np.fft.irfft2(one * np.conj(other), (EDGE, EDGE)) / EDGE**2
