"""A web server of files for tests: with ranges or without, and with faults that a real one has."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class FileServer:
    """Files of a folder at `address`, http://127.0.0.1:PORT.

    ranges: a part is sent where one is asked for, else the whole file. fault: of a request (method, name) the
    status that it is answered with, "short" for half of the answer as if it were all, "drop" for half of it
    and a closed connection, "silent" for one that is closed without any, "endless" for an answer whose length
    is not said; None: all is well. asked: what came, as (method, name, range).
    """

    folder: Path
    ranges: bool = True
    fault: Callable[[str, str], int | str | None] = lambda method, name: None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    address: str = ""


@contextmanager
def file_server(folder: Path) -> Iterator[FileServer]:
    """A server in threads of this process, gone when the block ends."""
    files = FileServer(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, files)

        do_HEAD = do_GET

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    files.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(request: BaseHTTPRequestHandler, files: FileServer) -> None:
    name, wanted = request.path.lstrip("/"), request.headers.get("Range")
    files.asked.append((request.command, name, wanted))
    fault = files.fault(request.command, name)
    path = files.folder / name
    if isinstance(fault, int) or not path.is_file():
        status = fault if isinstance(fault, int) else 404
        request.send_response(status)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    if fault == "silent":
        request.close_connection = True
        return
    content, status, size = path.read_bytes(), 200, path.stat().st_size
    part = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "")
    if part and files.ranges:
        first, last = int(part[1]), min(int(part[2]), size - 1)
        content, status = content[first : last + 1], 206
    if fault == "short":
        content = content[: len(content) // 2]
    request.send_response(status)
    if status == 206:
        request.send_header("Content-Range", f"bytes {first}-{last}/{size}")
    if fault == "endless":
        request.close_connection = True
    else:
        request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    if request.command == "HEAD":
        return
    if fault == "drop":
        content, request.close_connection = content[: len(content) // 2], True
    request.wfile.write(content)
