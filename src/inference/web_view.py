"""The newest picture as a page in a browser: Motion JPEG from the standard library's web server."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from jaxtyping import UInt8

QUALITY = 80  # of JPEG
BOUNDARY = "picture"
PAGE = b"""<!doctype html><meta charset=utf-8><title>tempohand live</title>
<style>body{margin:0;background:#111}img{display:block;margin:auto;max-width:100%;max-height:100vh}</style>
<img src=stream alt="hands, live">"""


class WebView:
    """Serves `show`'s pictures at `url`: `/` a page, `/stream` the pictures, `/picture` the newest one. Who
    is slow gets fewer, and is waited for by nobody.

    Anybody who reaches host and port sees the pictures: the default host is this machine alone. port 0: any
    that is free. It never `has_ended`: who closes the page may open it again. Use as a context manager.
    Raises OSError where the port is taken.
    """

    has_ended = False

    def __init__(self, host: str = "127.0.0.1", port: int = 0):
        self._condition = threading.Condition()
        self._newest: bytes | None = None
        self._number = 0
        self._watching = 0
        self._closed = False
        view = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                view._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the terminal is for the numbers."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="web view", daemon=True)
        self.url = f"http://{host}:{self._server.server_address[1]}/"

    @property
    def where(self) -> str:
        """Where to look, in words."""
        return self.url

    def __enter__(self) -> "WebView":
        self._thread.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._server.shutdown()
        self._server.server_close()

    @property
    def is_watched(self) -> bool:
        """Whether somebody waits for a picture: if not, there is none to draw."""
        return self._watching > 0

    def show(self, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """The next picture, RGB."""
        good, data = cv2.imencode(
            ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        )
        assert good, "encoding a JPEG failed"
        with self._condition:
            self._newest = data.tobytes()
            self._number += 1
            self._condition.notify_all()

    def _next(self, seen: int) -> tuple[int, bytes | None]:
        """The newest picture with its number, later than `seen`; None when the view was closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._number > seen)
            return self._number, None if self._closed else self._newest

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        kinds = {
            "/": "text/html",
            "/picture": "image/jpeg",
            "/stream": f"multipart/x-mixed-replace; boundary={BOUNDARY}",
        }
        if handler.path not in kinds:
            handler.send_error(404)
            return
        handler.send_response(200)
        handler.send_header("Content-Type", kinds[handler.path])
        handler.send_header("Cache-Control", "no-store")
        handler.end_headers()
        with self._condition:
            self._watching += handler.path != "/"
        try:
            self._send(handler)
        except OSError:
            pass  # the browser has gone
        finally:
            with self._condition:
                self._watching -= handler.path != "/"

    def _send(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/":
            handler.wfile.write(PAGE)
            return
        number = self._number
        while True:
            number, picture = self._next(number)
            if picture is None:
                return
            if handler.path == "/picture":
                handler.wfile.write(picture)
                return
            head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            handler.wfile.write(head.encode() + picture + b"\r\n")
