"""A page on which a browser predicts hands by itself: a folder of files that any web server can give."""

from pathlib import Path

from tempohand.inference.onnx_files import Written, write_graphs
from tempohand.inference.settings import NETWORK

PAGE = Path(__file__).with_name("web")  # index.html and what it needs
ORT_VERSION = "1.30.0"  # of npm's onnxruntime-web
ORT_ADDRESS = f"https://cdn.jsdelivr.net/npm/onnxruntime-web@{ORT_VERSION}/dist/"
ORT_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def write_page(
    out: str | Path, checkpoint: str | Path = NETWORK, ort: str | Path | None = None
) -> list[Written]:
    """Writes the page with a checkpoint's graphs into a folder, which appears when whole.

    ort: the folder `dist` of npm's onnxruntime-web, of which three files are copied (None: the page takes
    them from jsdelivr.net, at ORT_VERSION). Raises FileNotFoundError where one is missing, and what
    `write_graphs` raises.
    """
    beside = {path.name: path.read_bytes() for path in sorted(PAGE.iterdir()) if path.is_file()}
    if ort is not None:
        beside |= {name: _ort_file(Path(ort) / name) for name in ORT_FILES}
    address = ORT_ADDRESS if ort is None else "./"
    beside["index.html"] = beside["index.html"].replace(b"$ort", address.encode())
    return write_graphs(checkpoint, out, beside)


def _ort_file(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(
            f"'{path}' is not there: `ort` is the folder dist of npm's package onnxruntime-web "
            f"(npm pack onnxruntime-web@{ORT_VERSION}, then unpack it)"
        )
    return path.read_bytes()
