"""`tempohand triangulate`: joints in space out of several calibrated views."""

import argparse

DESCRIPTION = """Finds the 21 joints of hands in space from where several calibrated cameras saw them at
once. Views that disagree with the others do not count, joint by joint.

CALIBRATION is .yaml or .json with K, dist, R, t of each camera by name (also as cv2.FileStorage writes
it), or caliscope's camera_array.toml. FILE is predictions.npz of that camera's video, or any .npz or .json
with joints2d [N, 21, 2] in pixels and perhaps frame [N], is_right [N], mask [N, 21]; frames that belong
together have one number. OUT is .npz and goes into tempohand hand fit. docs/own_data.md has an example."""

EXAMPLES = """examples:
  two cameras, calibrated with caliscope, and their predictions:
    tempohand triangulate camera_array.toml 0=a-hands/predictions.npz 1=b-hands/predictions.npz --out j.npz
  then the hands behind the joints, one shape for all frames:
    tempohand hand fit j.npz fitted.npz --noise 3 --one-shape"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand triangulate`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("calibration", metavar="CALIBRATION", help="the cameras: .yaml, .json or .toml")
    parser.add_argument(
        "views", metavar="CAMERA=FILE", nargs="+", help="a camera's name in CALIBRATION, and its joints"
    )
    parser.add_argument("--out", metavar="OUT", required=True, help="the .npz file to write")
    parser.add_argument(
        "--unit",
        choices=("mm", "cm", "m"),
        default="m",
        help="of lengths in CALIBRATION (default %(default)s)",
    )
    parser.add_argument(
        "--side", choices=("right", "left"), help="of every hand (default: FILE's is_right, else right)"
    )
    parser.add_argument(
        "--outlier",
        type=float,
        default=15.0,
        metavar="PX",
        help="a view does not count for a joint that it is farther from (default %(default)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Triangulates, writes OUT and prints how well the views agree."""
    import numpy as np

    from tempohand.commands import triangulate_files as files
    from tempohand.commands.calibrations import read_cameras
    from tempohand.commands.hand_fit_files import UNITS_MM, check_output, check_size
    from tempohand.hand.triangulation import triangulate
    from tempohand.skeleton import NUM_JOINTS

    chosen = dict(_view(text) for text in arguments.views)
    check_output(arguments.out, ".npz", besides=arguments.calibration)
    cameras = read_cameras(arguments.calibration, UNITS_MM[arguments.unit])
    placed = [cameras[_known(name, cameras, arguments.calibration)] for name in chosen]
    seen = files.together([files.read_view(path, arguments.side) for path in chosen.values()])
    pixels = seen.pixels.reshape(len(placed), -1, 2)
    found = triangulate(placed, pixels, outlier=arguments.outlier)
    print(files.summary(seen, found, list(chosen)))
    joints = found.points.reshape(-1, NUM_JOINTS, 3)
    check_size(arguments.calibration, joints, np.all(np.isfinite(joints), -1), arguments.unit)
    files.write_joints(arguments.out, seen, found, list(chosen))
    print(f"wrote {arguments.out}")


def _view(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ValueError(f"'{text}' is no view: write CAMERA=FILE, with the camera's name in the calibration")
    return name, path


def _known(name: str, cameras: dict, calibration: str) -> str:
    """The calibration's own name of a camera; caliscope's number N is also called cam_N."""
    for each in (name, f"cam_{name}", name.removeprefix("cam_")):
        if each in cameras:
            return each
    raise ValueError(f"'{calibration}' has no camera '{name}', it has: {', '.join(sorted(cameras))}")
