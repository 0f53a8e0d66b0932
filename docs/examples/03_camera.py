"""Hands frame by frame, as they come from a camera: one pass of the network each, a history kept.

python 03_camera.py 0 takes the first camera (opencv-python-headless opens no window: use the numbers, or
`tempohand live`, which shows them in a browser). Without a number it reads film.mp4.
"""

import sys

import cv2
import numpy as np

import tempohand
from tempohand.inference.overlay import draw_hands
from tempohand.inference.palm_finder import PalmFinder
from tempohand.inference.palm_following import FollowedPalms
from tempohand.inference.predictor import HandInput, StreamingPredictor
from tempohand.inference.source import SourceFrame
from tempohand.inference.tracker import SMOOTHING, Tracker

camera = cv2.VideoCapture(int(sys.argv[1]) if sys.argv[1:] else "film.mp4")
network = tempohand.load()  # load(runtime="onnx"): half the time on a CPU
predictor = StreamingPredictor(network)
finder = FollowedPalms(PalmFinder(max_hands=2), every=5)  # looks for new hands in every 5th frame
tracker = Tracker(smoothing=SMOOTHING)  # which hand is which

shown = []
for index in range(100_000):
    read, picture = camera.read()
    if not read:
        break
    picture = picture[..., ::-1].copy()
    frame = SourceFrame(index, index / 30, picture, "")  # a camera's time: time.monotonic()
    inputs = [
        HandInput(
            image=picture,
            box=one.box,
            time=frame.time,
            hand=one.hand,
            is_right=one.is_right,
            starts=one.starts,
        )
        for one in tracker.update(frame.time, finder.detect(frame), frame.size)
    ]
    hands = predictor.push_all(inputs)
    predictor.keep(tracker.hands)  # forgets those that are gone
    where = [f"hand {hand.hand} at {np.round(hand.trans).astype(int).tolist()} mm" for hand in hands]
    print(f"frame {index}:", ", ".join(where))
    shown.append(draw_hands(picture, hands, network.hand.faces.numpy()))

chosen = np.linspace(0, len(shown) - 1, 4).round().astype(int)
cv2.imwrite("03_camera.png", np.hstack([shown[index] for index in chosen])[..., ::-1])
