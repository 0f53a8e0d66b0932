"""`tempohand hand fit`: pose, shape and wrist of hands whose joints are given."""

import argparse
from typing import Any

DESCRIPTION = """Finds the hand parameters (pose, shape, wrist) whose 21 joints lie where they are given, in
space or in a picture.

IN is .npz or .json: joints [N, 21, 3], or joints2d [N, 21, 2] in pixels with focal and princpt ([2] or [N,
2]); if it has both, joints counts. Optional: mask [N, 21] (0: no such joint; nan says so too), is_right
[N], person [N] (a number, for --one-shape). OUT is .npz. docs/fit.md has all formats."""

EXAMPLES = """examples:
  joints in millimetres, OpenPose order, right hands:
    tempohand hand fit joints.npz fitted.npz --picture fitted.png
  triangulated left hands in metres, in MANO's order, good to about 4 mm:
    tempohand hand fit left.json left.npz --side left --unit m --order mano21 --noise 4
  a person's hands in many frames, which have one shape:
    tempohand hand fit film.npz film-fitted.npz --noise 3 --one-shape"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand hand fit`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("input", metavar="IN", help="joints, .npz or .json")
    parser.add_argument("output", metavar="OUT", help="the .npz file to write")
    parser.add_argument("--hand", metavar="FILE", help="hand model file or folder (default: the open hand)")
    parser.add_argument(
        "--side",
        choices=("right", "left"),
        help="side of every hand, whatever IN says (default: its is_right, else right)",
    )
    parser.add_argument(
        "--unit", choices=("mm", "cm", "m"), default="mm", help="of joints in space (default %(default)s)"
    )
    parser.add_argument(
        "--order",
        choices=("openpose", "mano21", "mano16"),
        default="openpose",
        help="order of the joints (default %(default)s)",
    )
    parser.add_argument(
        "--noise",
        type=float,
        metavar="SIGMA",
        help="how exact the joints are, one standard deviation in mm, or in px in a picture: the less exact, "
        "the more the hand is a usual one (default 0.3 mm, 1 px)",
    )
    parser.add_argument(
        "--one-shape",
        action="store_true",
        help="one shape for all hands of a side, and of a `person` [N] where IN has that",
    )
    parser.add_argument(
        "--picture",
        metavar="FILE",
        help="draw some of the fitted hands and the given joints into this .png or .jpg",
    )


def run(arguments: argparse.Namespace) -> None:
    """Fits, writes OUT and prints a summary."""
    from time import perf_counter

    from tempohand.commands import hand_fit_files as files
    from tempohand.hand import fit
    from tempohand.hand.layer import HandLayer

    measured = files.read_joints(
        arguments.input, unit=arguments.unit, order=arguments.order, side=arguments.side
    )
    files.check_output(arguments.output, ".npz", besides=arguments.input)
    if arguments.picture is not None:
        files.check_output(arguments.picture, ".png", ".jpg", besides=arguments.input)
    layer = HandLayer(arguments.hand, side="right")

    start = perf_counter()
    camera = measured.camera
    usual = fit.NOISE_MM if camera is None else fit.NOISE_PX
    noise = usual if arguments.noise is None else arguments.noise
    common: dict[str, Any] = {"mask": measured.mask, "is_right": measured.is_right}
    common |= {"noise": noise, "progress": True}
    if arguments.one_shape:
        common |= {"camera": camera, "person": measured.person}
        fitted = fit.fit_one_shape(layer, measured.points, **common)
    elif camera is None:
        fitted = fit.fit_hands(layer, measured.points, **common)
    else:
        fitted = fit.fit_hands_2d(layer, measured.points, *camera, **common)
    seconds = perf_counter() - start

    files.write_fitted(arguments.output, fitted, measured)
    print(files.summary(fitted, measured, noise, seconds))
    print(f"wrote {arguments.output}")
    if arguments.picture is not None:
        from tempohand.commands.hand_fit_picture import write_picture

        write_picture(arguments.picture, layer, fitted, measured)
        print(f"wrote {arguments.picture}")
