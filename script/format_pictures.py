"""The pictures of docs/export.md: predictions in every format, each read and drawn by another program.

    python docs/examples/film.py && tempohand predict film.mp4
    python script/format_pictures.py film-hands/predictions.npz --video film.mp4

glb, bvh and webxr are drawn by three.js in headless Chromium (--node: a folder in which
`npm i three puppeteer-core @sparticuz/chromium` ran), blender by Blender (--blender: a Python with bpy), usd
by usd-core, mano by smplx, robot by yourdfpy, coco by pycocotools, csv and lerobot by pandas. A format whose
program is not there is left out, with a line that says so.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tempohand.console import run_clearly
from tempohand.inference.formats.registry import FORMATS, export_predictions
from tempohand.writing import write_whole

HERE = Path(__file__).parent / "format_pictures"
SIZE = 400  # px
QUALITY = 88
RIGHT, LEFT = "#cc5533", "#3366cc"
CHAINS = [[0, *range(first, first + 4)] for first in range(1, 21, 4)]  # of 21 joints: wrist to fingertip


class Drawn:
    """The exported files, and the moment that pictures show."""

    def __init__(self, predictions: Path, folder: Path, frame: int, picture: np.ndarray | None):
        self.files = {
            name: export_predictions(predictions, name, folder / f"hands{kind.ending}").out
            for name, kind in FORMATS.items()
        }
        with np.load(predictions) as file:
            self.time = float(file["time"][file["frame"] == frame][0])
        self.frame = frame
        self.picture = picture
        self.folder = folder


def colour(side: str) -> str:
    return RIGHT if side.lower().startswith("r") else LEFT


def space(figure: Figure, place: int = 111):
    """Axes in space, seen as from behind the camera: what is given as (right, away, up)."""
    axes = figure.add_subplot(place, projection="3d")
    axes.view_init(8, -82)
    axes.tick_params(labelsize=6)
    axes.set_yticks([])
    return axes


def draw_surface(axes, points: np.ndarray, faces: np.ndarray, shade: str) -> None:
    """points: y up, z backward."""
    x, y, z = points.T
    axes.plot_trisurf(x, -z, y, triangles=faces, color=shade, linewidth=0, antialiased=False)
    axes.set_aspect("equal")


def draw_csv(drawn: Drawn, figure: Figure) -> None:
    import pandas

    table = pandas.read_csv(drawn.files["csv"])
    panels = figure.subplots(3, 1, sharex=True)
    for panel, axis in zip(panels, "xyz"):
        for (number, side), rows in table.groupby(["hand_id", "side"]):
            panel.plot(
                rows.time_s, rows[f"index_tip_{axis}_mm"], color=colour(side), label=f"{number}, {side}"
            )
        panel.set_ylabel(f"index_tip_{axis}_mm", fontsize=7)
    panels[0].legend(fontsize=7)
    panels[2].set_xlabel("time_s")


def draw_mediapipe(drawn: Drawn, figure: Figure) -> None:
    lines = [json.loads(line) for line in drawn.files["mediapipe"].read_text().splitlines()]
    result = next(line for line in lines if line["frame"] == drawn.frame)
    flat, deep = figure.add_subplot(211), space(figure, 212)
    height, width = drawn.picture.shape[:2]
    flat.imshow(drawn.picture)
    for number, ((hand,), points) in enumerate(zip(result["handedness"], result["hand_landmarks"])):
        seen = np.array([[point["x"] * width, point["y"] * height] for point in points])
        world = np.array(
            [[point[axis] for axis in "xyz"] for point in result["hand_world_landmarks"][number]]
        )
        for chain in CHAINS:
            flat.plot(*seen[chain].T, "o-", color=colour(hand["category_name"]), markersize=2)
            x, y, z = world[chain].T
            deep.plot(x + 0.2 * number, z, -y, "o-", color=colour(hand["category_name"]), markersize=2)
    flat.axis("off")
    deep.set_aspect("equal")


def draw_coco(drawn: Drawn, figure: Figure) -> None:
    from pycocotools.coco import COCO

    coco, axes = COCO(str(drawn.files["coco"])), figure.add_subplot()
    axes.imshow(drawn.picture)
    for one in coco.loadAnns(coco.getAnnIds(imgIds=[drawn.frame])):
        side = "righthand" if one["righthand_valid"] else "lefthand"
        points = np.array(one[f"{side}_kpts"]).reshape(-1, 3)
        for chain in CHAINS:
            shown = [joint for joint in chain if points[joint, 2]]
            axes.plot(*points[shown, :2].T, "o-", color=colour(side), markersize=3)
        x, y, width, height = one["bbox"]
        axes.add_patch(matplotlib.patches.Rectangle((x, y), width, height, fill=False, color=colour(side)))
    axes.axis("off")


def draw_openxr(drawn: Drawn, figure: Figure) -> None:
    from scipy.spatial.transform import Rotation

    file, axes = json.loads(drawn.files["openxr"].read_text()), space(figure)
    for hand in (one for one in file["hands"] if one["frame"] == drawn.frame):
        places, turns = np.array(hand["positions"]), Rotation.from_quat(hand["orientations"]).as_matrix()
        for first in (2, 6, 11, 16, 21):  # after palm and wrist the thumb's four joints, then five a finger
            x, y, z = places[[1, *range(first, first + (4 if first == 2 else 5))]].T
            axes.plot(x, -z, y, "o-", color=colour(hand["handedness"]), linewidth=0.5, markersize=2)
        for direction, shade in enumerate(("tab:red", "tab:green", "tab:blue")):
            ends = np.stack([places, places + 0.014 * turns[:, :, direction]])
            for x, y, z in ends.transpose(1, 2, 0):
                axes.plot(x, -z, y, color=shade, linewidth=1)
    axes.set_aspect("equal")


def draw_mano(drawn: Drawn, figure: Figure) -> None:
    """Posed by smplx, with the open hand in the place of MANO's file."""
    import smplx
    import torch

    from tempohand.hand.files import read_hand_file, write_hand_file
    from tempohand.hand.tables import mirrored

    tables, axes = read_hand_file(None, side="right"), space(figure)
    with np.load(drawn.files["mano"]) as arguments:
        for row in np.flatnonzero(arguments["frame"] == drawn.frame):
            right = bool(arguments["is_rhand"][row])
            model = drawn.folder / f"MANO_{'RIGHT' if right else 'LEFT'}.npz"
            ours = tables if right else mirrored(tables)
            write_hand_file(ours, model)
            flat = {"use_pca": False, "flat_hand_mean": True, "is_rhand": right, "ext": "npz"}
            hand = smplx.create(str(model), "mano", **flat)
            hand.shapedirs = torch.from_numpy(
                ours.shapedirs
            )  # else smplx mends it, as an official left file's
            names = ("global_orient", "hand_pose", "betas", "transl")
            with torch.no_grad():
                posed = hand(**{name: torch.from_numpy(arguments[name][row : row + 1]) for name in names})
            points = posed.vertices[0].numpy() * [1, -1, -1]
            draw_surface(axes, points, hand.faces.astype(int), RIGHT if right else LEFT)


def draw_usd(drawn: Drawn, figure: Figure) -> None:
    from pxr import Usd, UsdGeom, UsdSkel

    stage = Usd.Stage.Open(str(drawn.files["usd"]))
    cache = UsdSkel.Cache()
    axes = space(figure)
    code = Usd.TimeCode(drawn.time * stage.GetTimeCodesPerSecond())
    for prim in stage.Traverse():
        if prim.IsA(UsdSkel.Root) and UsdGeom.Imageable(prim).ComputeVisibility(code) == "inherited":
            cache.Populate(UsdSkel.Root(prim), Usd.PrimDefaultPredicate)
            (binding,) = cache.ComputeSkelBindings(UsdSkel.Root(prim), Usd.PrimDefaultPredicate)
            query = cache.GetSkelQuery(binding.GetSkeleton())
            for skin in binding.GetSkinningTargets():
                mesh = UsdGeom.Mesh(skin.GetPrim())
                points = mesh.GetPointsAttr().Get()
                assert skin.ComputeSkinnedPoints(query.ComputeSkinningTransforms(code), points, code)
                faces = np.array(mesh.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
                shade = tuple(mesh.GetDisplayColorAttr().Get()[0])
                draw_surface(axes, np.array(points), faces, shade)


def draw_robot(drawn: Drawn, figure: Figure) -> None:
    """The right hand beside a LEAP, an Allegro and a Shadow hand."""
    import dexi_rs
    import pandas
    import yourdfpy

    human = pandas.read_csv(drawn.files["csv"])
    row = human[(human.frame == drawn.frame) & (human.side == "right")].iloc[0]
    joints = row.filter(regex=r"_[xyz]_mm$").to_numpy(float).reshape(21, 3)
    figure.set_size_inches(2 * SIZE / 100, 0.6 * SIZE / 100)
    panels = [space(figure, 141 + number) for number in range(4)]
    for chain in CHAINS:
        forward = joints[9] - joints[0]
        across = np.cross(np.cross(forward, joints[5] - joints[17]), forward)
        axes = np.stack([one / np.linalg.norm(one) for one in (np.cross(across, forward), across, forward)])
        panels[0].plot(*((joints[chain] - joints[0]) @ axes.T).T, "o-", color=RIGHT, markersize=3)
    panels[0].set_title("the hand", fontsize=9)
    for panel, name in zip(panels[1:], ("leap", "allegro", "shadow")):
        folder = dexi_rs.asset_path(f"robots/hands/{name}_hand")
        robot = yourdfpy.URDF.load(str(folder / f"{name}_hand_right.urdf"), load_meshes=False)
        (path,) = drawn.files["robot"].glob(f"{name}_*_right.csv")
        table = pandas.read_csv(path)
        now = table[table.frame == drawn.frame]
        angles = now.filter(like="_rad").iloc[0]
        robot.update_cfg({key.removesuffix("_rad"): value for key, value in angles.items()})
        for joint in robot.robot.joints:  # not every robot's meshes come with dexi-rs: links as lines
            if "forearm" in joint.parent + joint.child:  # long, and it stays where it is
                continue
            ends = [robot.get_transform(link)[:3, 3] for link in (joint.parent, joint.child)]
            panel.plot(*np.transpose(ends), "o-", color="0.4", markersize=3)
        off = now.filter(like="_error_mm").to_numpy().mean()
        panel.set_title(f"{name}, tips {off:.0f} mm off", fontsize=9)
    for panel in panels:
        panel.view_init(12, 25)
        panel.set_aspect("equal")
        panel.axis("off")


def draw_lerobot(drawn: Drawn, figure: Figure) -> None:
    import pandas

    root = drawn.files["lerobot"]
    names = json.loads((root / "meta/info.json").read_text())["features"]["observation.state"]["names"]
    table = pandas.concat(pandas.read_parquet(path) for path in sorted(root.glob("data/**/*.parquet")))
    episode = table[table.episode_index == 0]
    state, axes = np.stack(episode["observation.state"]), figure.add_subplot()
    for number, name in enumerate(names):
        if name.startswith(("index", "wrist_x", "wrist_y", "wrist_z")):
            axes.plot(episode.timestamp, state[:, number], label=name)
    axes.set(title="observation.state, episode 0", xlabel="timestamp, s", ylabel="m, rad")
    figure.legend(fontsize=6, ncol=4, loc="outside lower center")


DRAWN: dict[str, Callable[[Drawn, Figure], None]] = {
    "csv": draw_csv,
    "mediapipe": draw_mediapipe,
    "coco": draw_coco,
    "openxr": draw_openxr,
    "mano": draw_mano,
    "usd": draw_usd,
    "robot": draw_robot,
    "lerobot": draw_lerobot,
}


def figure_of(draw: Callable[[Drawn, Figure], None], drawn: Drawn) -> Image.Image:
    figure = Figure(figsize=(SIZE / 100, SIZE / 100), dpi=100, layout="constrained")
    draw(drawn, figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file)


def three_pictures(drawn: Drawn, packages: str) -> dict[str, Image.Image]:
    """What three.js shows of glb, bvh and webxr; nothing where node or the packages are not there."""
    data = drawn.folder
    starts = sorted(drawn.files["bvh"].glob("*_frame000000.bvh"))
    names = [f"{path.parent.name}/{path.name}" for path in starts]
    (data / "bvh.json").write_text(json.dumps(names))
    command = ["node", str(HERE / "three.mjs"), packages, str(data), str(data), str(drawn.time)]
    subprocess.run(command, check=True, timeout=900)
    return {name: Image.open(data / f"{name}.png") for name in ("glb", "bvh", "webxr")}


def blender_picture(drawn: Drawn, python: str) -> dict[str, Image.Image]:
    """What Blender renders of the script."""
    out = drawn.folder / "blender.png"
    script = [str(HERE / "blender.py"), str(drawn.files["blender"]), str(out), str(drawn.time)]
    subprocess.run([python, *script], check=True, timeout=1800, stdout=subprocess.DEVNULL)
    return {"blender": Image.open(out)}


def read_frame(video: str, frame: int) -> np.ndarray:
    with av.open(video) as container:
        pictures = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
    if frame >= len(pictures):
        raise ValueError(f"'{video}' has {len(pictures)} frames, and no frame {frame}")
    return pictures[frame]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--video", required=True, help="what they were predicted from")
    parser.add_argument("--frame", type=int, default=6, help="the one that is shown (default 6)")
    parser.add_argument("--out", type=Path, default=Path("docs/images/export"))
    parser.add_argument(
        "--node", help="a folder with node_modules: three, puppeteer-core, @sparticuz/chromium"
    )
    parser.add_argument("--blender", help="a Python with bpy")
    parser.add_argument("--only", nargs="*", choices=FORMATS, default=list(FORMATS))
    return parser.parse_args()


@run_clearly
def main() -> None:
    options = read_options()
    with tempfile.TemporaryDirectory() as folder:
        picture = read_frame(options.video, options.frame)
        drawn, found = Drawn(options.predictions, Path(folder), options.frame, picture), {}
        for name in (name for name in DRAWN if name in options.only):
            try:
                found[name] = figure_of(DRAWN[name], drawn)
            except ImportError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
        if options.node and {"glb", "bvh", "webxr"} & set(options.only):
            found |= three_pictures(drawn, options.node)
        if options.blender and "blender" in options.only:
            found |= blender_picture(drawn, options.blender)
        for name, image in found.items():
            file = io.BytesIO()
            image.convert("RGB").save(file, format="jpeg", quality=QUALITY)
            write_whole(options.out / f"{name}.jpg", file.getvalue())
            print(f"wrote {options.out / name}.jpg, {len(file.getvalue()) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
