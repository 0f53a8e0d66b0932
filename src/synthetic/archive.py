"""Files of a folder or of a tar archive, read by their names one at a time."""

import hashlib
import tarfile
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray


class Archive:
    """The files right in a folder, or in an uncompressed tar archive.

    setting: the configuration's key that names the path, for messages. Raises FileNotFoundError when there is
    nothing at the path, ValueError when it is neither a folder nor a tar archive that can be read to its end.
    """

    def __init__(self, path: str | Path, setting: str):
        self.path, self.setting = Path(path), setting
        if not self.path.exists():
            raise FileNotFoundError(f"{setting}={path}: there is no such file or folder")
        if self.path.is_dir():
            files = [file for file in sorted(self.path.iterdir()) if file.is_file()]
            self._places = {file.name: (file, 0, file.stat().st_size) for file in files}
            return
        try:
            with tarfile.open(self.path, "r:") as tar:
                members = sorted((Path(m.name).name, m.offset_data, m.size) for m in tar if m.isfile())
        except (tarfile.TarError, EOFError) as error:
            raise ValueError(
                f"{setting}={path} is no whole tar archive ({error}): give the uncompressed .tar "
                "or the folder that it was unpacked into"
            ) from None
        self._places = {name: (self.path, offset, size) for name, offset, size in members}

    def names(self, prefix: str, suffix: str) -> list[str]:
        """Names that begin and end so, sorted. Raises ValueError when there are none."""
        found = [name for name in self._places if name.startswith(prefix) and name.endswith(suffix)]
        if not found:
            raise ValueError(f"{self.setting}={self.path} holds no file named {prefix}*{suffix}")
        return found

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises ValueError when there is no file of that name."""
        if name not in self._places:
            raise ValueError(f"{self.setting}={self.path} lacks the file {name}")
        path, offset, size = self._places[name]
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def picture(self, name: str) -> ndarray:
        """A picture's channels in the order RGB: uint8, or float32 for Radiance files. Raises ValueError when
        it does not decode."""
        data = np.frombuffer(self.read(name), np.uint8)
        try:
            bgr = cv2.imdecode(data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR) if len(data) else None
        except cv2.error:
            bgr = None
        if bgr is None:
            raise ValueError(f"{self.setting}={self.path}: {name} does not decode; fetch it again")
        return np.ascontiguousarray(bgr[..., ::-1])

    def fingerprint(self) -> str:
        """Of the files' names and sizes."""
        lines = [f"{name}:{size}" for name, (_, _, size) in self._places.items()]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
