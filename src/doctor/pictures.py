"""Checks of stored pictures: do they decode, what range do they have, are they RGB."""

from collections import Counter

import numpy as np

from tempohand.data.pictures import BadPicture
from tempohand.data.table import FrameTable
from tempohand.doctor.result import Result, judge
from tempohand.doctor.subject import evenly_spread

PICTURES = 160  # of each split
SEEN = 0.2  # a hand of which no more is hidden shows its skin at the joints
GREY = 0.01  # |red - blue| over the sum of channels below which a pixel has no hue to speak of
BGR_SHARE, RGB_SHARE = 0.3, 0.7  # of pictures in which the joints are redder than blue


def check_pictures(tables: list[FrameTable]) -> list[Result]:
    """The results of all picture checks on some pictures of each table."""
    reasons: Counter = Counter()
    redness = []
    brightest = []
    contrast = []
    detail = ""
    looked = 0
    for table in tables:
        rows = evenly_spread(len(table), PICTURES)
        labels = table.labels(rows)
        looked += len(rows)
        for place, row in enumerate(rows):
            try:
                picture = table.image(int(row))
            except BadPicture as error:
                reasons[error.reason] += 1
                detail = detail or str(error)
                continue
            brightest.append(int(picture.max()))
            contrast.append(float(picture.std()))
            if not labels["hidden"][place] > SEEN:
                redness.append(
                    red_over_blue(picture, labels["joints2d"][place], labels["joints2d_mask"][place])
                )
    results = [_decodable(reasons, looked, detail)]
    if brightest:
        results += [_range(np.array(brightest), np.array(contrast)), channel_order(np.array(redness))]
    return results


def _decodable(reasons: Counter, looked: int, detail: str) -> Result:
    bad = sum(reasons.values())
    verdict, cause = judge(bad / looked), ""
    if bad:
        kinds = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
        cause = f"{kinds}; first: {detail}. Remedy: tempohand check-data lists every such row; "
        cause += (
            "store width and height as the decoded picture has them."
            if "swapped" in detail
            else "convert or copy them again."
        )
    return Result(
        "pictures decode, size as told",
        f"{looked - bad} of {looked}",
        "all",
        verdict,
        cause,
        1 - bad / looked,
    )


def _range(brightest: np.ndarray, contrast: np.ndarray) -> Result:
    text = f"brightest pixel {np.median(brightest):.0f}, contrast {np.median(contrast):.0f} (median)"
    dark, flat = float((brightest <= 1).mean()), float((contrast < 2).mean())
    verdict, cause = judge(max(dark, flat)), ""
    if dark > 0.05:
        cause = (
            f"{dark:.0%} of the pictures have no value above 1: they were scaled to [0, 1] before they "
            "were stored. Remedy: store 0 to 255."
        )
    elif verdict != "ok":
        cause = (
            f"{flat:.1%} of the pictures are flat: empty, black, or crops beside the frame. Remedy: leave "
            "such rows out."
        )
    return Result("pictures' range", text, "above 1, at least 2", verdict, cause, float(np.median(brightest)))


def red_over_blue(picture: np.ndarray, joints2d: np.ndarray, mask: np.ndarray) -> float:
    """(red - blue) / (red + green + blue), the median over the joints' pixels, less than 0 for blue; nan
    where no joint is in the picture.

    Skin of every tone reflects more red than blue (melanin and haemoglobin absorb short waves), so it is
    positive in almost any light.
    """
    height, width = picture.shape[:2]
    known = mask & np.isfinite(joints2d).all(1)
    u, v = np.round(joints2d[known]).clip(-1e6, 1e6).astype(int).T
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    if not inside.any():
        return float("nan")
    red, green, blue = picture[v[inside], u[inside]].astype(float).T
    return float(np.median((red - blue) / np.maximum(red + green + blue, 1)))


def channel_order(redness: np.ndarray) -> Result:
    """RGB or BGR, by the colour at the joints of hands that are seen. redness: `red_over_blue` of
    pictures."""
    name, expected = "channel order is RGB", f"red above blue in more than {RGB_SHARE:.0%}"
    known = redness[np.isfinite(redness)]
    coloured = known[np.abs(known) > GREY]
    if len(coloured) < max(0.2 * len(known), 1):
        return Result(
            name,
            f"{len(known)} pictures looked at, hardly any with colour at the joints: it cannot be told",
            expected,
        )
    share = float((coloured > 0).mean())
    text = f"red above blue at the joints in {share:.1%} of {len(coloured)} pictures"
    if share < BGR_SHARE:
        cause = (
            "Hands are bluer than red: the pictures are BGR (OpenCV's order) stored as RGB. Remedy: "
            "cv2.imencode takes BGR, so "
        )
        return Result(
            name,
            text,
            expected,
            "FAILED",
            cause + "convert RGB pictures with [..., ::-1] before it, and BGR ones not at all.",
            share,
        )
    if share < RGB_SHARE:
        cause = (
            "Some hands are bluer than red: one of several sources may be BGR, or there are gloves, "
            "coloured light or 2D joints beside the hand."
        )
        return Result(name, text, expected, "warning", cause, share)
    return Result(name, text, expected, number=share)
