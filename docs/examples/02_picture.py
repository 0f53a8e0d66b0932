"""The hands of one picture, in Python: find them, predict each in 3D, draw them."""

import cv2

import tempohand
from tempohand.inference.overlay import draw_hands
from tempohand.inference.palm_finder import PalmFinder
from tempohand.inference.predictor import StreamingPredictor

picture = cv2.imread("frame.png")[..., ::-1].copy()  # RGB
network = tempohand.load()  # or the folder of a checkpoint
predictor = StreamingPredictor(network)

found = PalmFinder(tiles=4, max_hands=8).hands(picture)  # tiles: smaller hands, too
hands = [
    predictor.push(picture, box, time=0.0, hand=number, is_right=right)  # focal=... if you know it, px
    for number, (box, right) in enumerate(zip(found.box, found.side > 0.5))
]
for hand in hands:
    x, y, z = hand.joints[8]  # the index finger's tip; mm, x right, y down, z away from the camera
    print(f"{'right' if hand.is_right else 'left'} hand: index fingertip at {x:.0f}, {y:.0f}, {z:.0f} mm")
    print(f"  pose {hand.pose.shape}, shape {hand.shape.shape}, vertices {hand.vertices.shape}")

cv2.imwrite("02_picture.png", draw_hands(picture, hands, network.hand.faces.numpy())[..., ::-1])
