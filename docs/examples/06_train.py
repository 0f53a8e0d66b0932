"""A network that learns from your own labelled pictures: a CSV of joints, two commands, the gain.

Here the pictures are the film's, the labels the truth; docs/own_data.md has the formats of labelling
tools. More settings for train may follow on the command line of this file.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from tempohand.data.table import FrameTable
from tempohand.skeleton import JOINT_NAMES


def run(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "tempohand.cli", *words], check=True)


table = FrameTable("film", "test")
labels = table.labels(np.arange(len(table)))
Path("mine").mkdir(exist_ok=True)
with open("mine/labels.csv", "w", newline="") as file:
    lines = csv.writer(file)
    lines.writerow(["picture", "side", *(f"{name}_{axis}" for name in JOINT_NAMES for axis in "xy")])
    for row, joints in enumerate(labels["joints2d"]):
        cv2.imwrite(f"mine/{row:03d}.jpg", table.image(row)[..., ::-1])
        lines.writerow([f"{row:03d}.jpg", "right", *joints.ravel().tolist()])

run("prepare", "dataset=csv", "root=mine", "out=mine-table", "processes=1", "overwrite=true")
score = ["data=mine-table", "split=val", "device=cpu", "workers=0", "batch_size=4", "strips=0"]
run("evaluate", "stage2=tempohand-tiny", *score, "out=before")
few = ["optim.steps=60", "optim.batch_size=8", "optim.warmup=5", "data.workers=0", "tracker=null"]
often = ["log.every=20", "log.validate_every=30", "log.checkpoint_every=30"]
settings = ["data=mine-table", "out=mine-network", "resume=null", *few, *often, *sys.argv[1:]]
run("train", "--config-name=stage1-tiny-finetune", *settings)
run("evaluate", "stage1=mine-network/checkpoint/best", *score, "out=after")

for which in ("before", "after"):
    error = json.loads(Path(which, "metrics.json").read_text())["rows"]["stage1"]["error_2d"]
    print(f"{which}: joints {error:.1f} % of the hand's box from where they are marked")
