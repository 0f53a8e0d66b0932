"""Runs every program of docs/examples, in their order, and renews their pictures.

python script/example_pictures.py            # in outputs/examples; the pictures go to docs/images/examples
"""

import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np

from tempohand.console import run_clearly
from tempohand.writing import write_whole

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs/examples"
WORK = Path("outputs/examples")
PICTURES = ROOT / "docs/images/examples"
VIDEOS = {"01_predict": "film-hands/overlay.mp4"}  # whose picture is a strip of a video
BEFORE = {"10_onnx": "tempohand onnx --out graphs"}
WIDEST = {"01_predict": 960, "03_camera": 960}  # px; others 640
QUALITY = 88


def strip(video: Path, count: int = 4) -> np.ndarray:
    """Frames of a video, evenly spread, beside each other."""
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    return np.hstack([frames[at] for at in np.linspace(0, len(frames) - 1, count).round().astype(int)])


def keep(name: str, picture: np.ndarray) -> None:
    """Writes an example's picture, made smaller where it is wider than it may be."""
    height, width = picture.shape[:2]
    wide = min(width, WIDEST.get(name, 640))
    small = cv2.resize(picture, (wide, round(height * wide / width)), interpolation=cv2.INTER_AREA)
    done, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    write_whole(PICTURES / f"{name}.jpg", content.tobytes())


@run_clearly
def main() -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    bin_first = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # for `tempohand`
    environment = {**os.environ, "MPLBACKEND": "Agg", "PATH": bin_first}

    def run(*command: str) -> None:
        subprocess.run(command, cwd=WORK, env=environment, check=True)

    run(sys.executable, str(EXAMPLES / "film.py"), "overwrite=true")
    for example in sorted(EXAMPLES.glob("[0-9]*")):
        name = example.stem
        print(f"== {example.name}", flush=True)
        if name in BEFORE:
            run(*BEFORE[name].split())
        run("bash" if example.suffix == ".sh" else sys.executable, str(example))
        made = WORK / f"{name}.png"
        if name in VIDEOS:
            keep(name, strip(WORK / VIDEOS[name]))
        elif made.is_file():
            keep(name, cv2.imread(str(made)))


if __name__ == "__main__":
    main()
