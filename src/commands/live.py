"""`tempohand live`: hands in what a camera sees, in a browser or a window."""

import argparse

DESCRIPTION = """Predicts hands in frames as they come, and shows them on a page in a browser, or in a
window, with the latency of each. Frames that come while another is worked on are dropped: what
is seen is never old.

docs/live.md has what it costs, and how to use it from Python."""

EXAMPLES = """examples:
  tempohand live                                   the first camera
  tempohand live rtsp://192.168.1.20/stream
  ffmpeg -re -i clip.mp4 -c copy -f mpegts - | tempohand live -"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand live`. `dest` is the library's name of an argument."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument(
        "input",
        metavar="INPUT",
        nargs="?",
        default="0",
        help="a camera's number, an address (rtsp://, http://), or - for standard input "
        "(default %(default)s)",
    )
    parser.add_argument("--checkpoint", metavar="DIR", help="as of tempohand predict")
    parser.add_argument(
        "--host", help="who may see the page: 127.0.0.1, this machine alone; 0.0.0.0, whoever reaches it"
    )
    parser.add_argument("--port", type=int, help="of the page (default 8765; 0: any that is free)")
    parser.add_argument(
        "--window",
        action="store_true",
        help="a window of this desktop in place of the page (with opencv-python; Esc or q ends it)",
    )
    parser.add_argument("--max-hands", type=int, metavar="N", help="most hands to find (default 2)")
    parser.add_argument(
        "--finder-tiles", dest="tiles", type=int, metavar="N", help="as of tempohand predict (default 1)"
    )
    parser.add_argument(
        "--look-every", dest="every", type=int, metavar="N", help="as of tempohand predict (default 5)"
    )
    parser.add_argument("--focal", dest="focal_px", type=float, metavar="PX", help="as of tempohand predict")
    parser.add_argument("--fov", dest="fov_deg", type=float, metavar="DEG", help="as of tempohand predict")
    parser.add_argument("--runtime", choices=("torch", "onnx"), help="as of tempohand predict")


def run(arguments: argparse.Namespace) -> None:
    """Predicts until the input ends or Ctrl-C."""
    from tempohand.inference.live import LiveSettings, run_live

    names = LiveSettings.__dataclass_fields__
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    run_live(LiveSettings(**given), say=lambda line: print(line, flush=True))
