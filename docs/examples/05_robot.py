"""A robot hand does what the hand in the video does: joint angles of LEAP, Allegro and Shadow hands
(pip install 'tempohand[robot]')."""

import matplotlib.pyplot as plt
import pandas

from tempohand.inference.formats.registry import export_predictions

exported = export_predictions("film-hands/predictions.npz", "robot")  # or tempohand export ... --to robot
print("\n".join(exported.lines()))  # how far the fingertips are from where they should be

figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), sharey=True, layout="constrained")
for robot, panel in zip(("leap", "allegro", "shadow"), axes):
    table = pandas.read_csv(next(exported.out.glob(f"{robot}_*_right.csv")))
    angles = table.filter(like="_rad")
    panel.plot(table["time_s"], angles)
    off = table.filter(like="_error_mm").to_numpy().mean()
    panel.set(title=f"{robot}: {angles.shape[1]} joints, tips {off:.1f} mm off", xlabel="s")
axes[0].set_ylabel("rad")
plt.savefig("05_robot.png", dpi=80)
