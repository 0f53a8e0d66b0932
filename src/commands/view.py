"""`tempohand view`: predictions in 3D, in a browser."""

import argparse

DESCRIPTION = """Shows the predictions of tempohand predict in 3D: meshes, skeletons, and the picture where
the camera saw it, frame by frame or played, in a browser (pip install 'tempohand[view]')."""

EXAMPLES = """examples:
  tempohand view clip-hands/predictions.npz
  tempohand view clip-hands/predictions.npz --pictures other/clip.mp4 --port 8081
  tempohand view clip-hands/predictions.npz --rerun clip-hands/hands.rrd
  ssh -L 8080:localhost:8080 MACHINE tempohand view clip-hands/predictions.npz     # of another machine

It stays until Ctrl-C. --host 0.0.0.0 lets other machines see it: there is no password."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `tempohand view`."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("predictions", metavar="PREDICTIONS", help="a predictions.npz of tempohand predict")
    parser.add_argument(
        "--pictures",
        metavar="PATH",
        help="the video, picture or folder that they are of (default: the file of that name beside the "
        "predictions or their folder, if there is one)",
    )
    parser.add_argument(
        "--hand",
        metavar="PATH",
        help="the hand model file that the network was trained with (default: the open hand)",
    )
    parser.add_argument(
        "--rerun",
        metavar="FILE.rrd",
        nargs="?",
        const="",
        help="into Rerun instead (pip install 'tempohand[rerun]'): its viewer on this desktop, or a "
        "recording for it where a file is named",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: this machine only)"
    )
    parser.add_argument("--port", type=int, default=8080, help="first port to try (default: 8080)")


def run(arguments: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C, or hands over to Rerun."""
    from tempohand.inference.formats.predictions import Predictions
    from tempohand.inference.recording import RerunRecording
    from tempohand.inference.source import open_source
    from tempohand.inference.viewer import PictureStore, Viewer

    predictions = Predictions.read(arguments.predictions, arguments.hand)
    where = arguments.pictures or predictions.beside(arguments.predictions)
    source = open_source(where) if where else None
    if not where:
        print(f"'{predictions.source}' is not here: hands alone (name it in --pictures)")
    if arguments.rerun is not None:
        recording = RerunRecording(predictions, arguments.hand)
        if arguments.rerun:
            recording.save(arguments.rerun, source)
            print(f"wrote {arguments.rerun}: rerun {arguments.rerun} shows it")
        else:
            recording.spawn(source)
        return
    pictures = PictureStore(source) if source else None
    with Viewer(predictions, arguments.hand, pictures, host=arguments.host, port=arguments.port) as viewer:
        print(f"open {viewer.address} (Ctrl-C ends it)")
        try:
            viewer.run()
        except KeyboardInterrupt:
            print()
