"""A hand without torch: numpy, OpenCV, onnxruntime and the graphs of `tempohand onnx --out graphs`.

One right hand in one picture, from its box and camera (read out of film-hands/predictions.json here).
Hands that do not point up, histories, left hands and the finder: docs/onnx.md.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

about = json.loads(Path("graphs/tempohand.json").read_text())
picture = cv2.imread("frame.png")[..., ::-1].copy()  # RGB
predicted = json.loads(Path("film-hands/predictions.json").read_text())
given = next(hand for hand in predicted["hands"] if hand["is_right"])
box, focal, middle = (np.float32(given[name]) for name in ("box", "focal", "princpt"))  # px
size, frames = about["crop"]["height"], about["num_frame"]

# The square around the box, as the network was trained: its longer edge times `expansion`.
centre = (box[:2] + box[2:]) / 2
scale = size / ((box[2:] - box[:2]).max() * about["crop"]["expansion"])
to_crop = np.float64([[scale, 0, 0], [0, scale, 0]])
to_crop[:, 2] = (size - 1) / 2 - scale * centre
crop = cv2.warpAffine(picture, to_crop, (size, size), borderMode=cv2.BORDER_REPLICATE)
camera = {"focal": focal[None] * scale, "princpt": (middle * scale + to_crop[:, 2])[None]}
camera = {name: value.astype(np.float32) for name, value in camera.items()}

encode, decode = (onnxruntime.InferenceSession(f"graphs/{name}.onnx") for name in ("encode", "decode"))
(features,) = encode.run(None, {"image": crop.transpose(2, 0, 1)[None], **camera})
features = np.append(features, np.zeros((1, 1), np.float32), axis=1)  # not turned upright
clip = {name: np.repeat(value[:, None], frames, axis=1) for name, value in camera.items()}
clip["features"] = np.repeat(features[:, None], frames, axis=1)
clip["time"] = np.zeros((1, frames), np.float32)
clip["frame_mask"] = np.arange(frames)[None] == frames - 1  # this frame alone: no history
hand = dict(zip((one.name for one in decode.get_outputs()), decode.run(None, clip)))
joints = hand["joints"].reshape(21, 3)  # mm, camera space
print("wrist at", joints[0].round().tolist(), "mm; index fingertip at", joints[8].round().tolist(), "mm")

shown = np.ascontiguousarray(picture[..., ::-1])
for x, y in focal * joints[:, :2] / joints[:, 2:] + middle:
    cv2.circle(shown, (round(float(x)), round(float(y))), 4, (40, 40, 230), -1, cv2.LINE_AA)
cv2.imwrite("10_onnx.png", shown)
