"""Pages made from templates: one HTML document without a single outside reference, in the reader's own font
and light or dark theme."""

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy import ndarray

TEMPLATES = Path(__file__).with_name("templates")  # page.html, which pages extend, and parts.html


@dataclass(frozen=True)
class TableCell:
    """A cell: its text, the interval below it, and its mark: "best", "sure" or none."""

    text: str
    interval: str = ""
    mark: str = ""


@dataclass(frozen=True)
class TableRow:
    """A row: its name with a dot of a colour (CSS; none: no dot) before it, and its cells."""

    name: str
    cells: list[TableCell]
    colour: str = ""
    prefix: str = ""


@dataclass(frozen=True)
class PageTable:
    """A table under a heading; none: no heading."""

    title: str
    head: list[str]
    rows: list[TableRow]


def render_page(template: str, folder: Path = TEMPLATES, **content) -> str:
    """The page of a template in `folder`, which may extend and import those of TEMPLATES. Text is escaped;
    HTML comes as markupsafe.Markup."""
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)


def data_uri(kind: str, content: bytes) -> str:
    """A file inside a page. kind: its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def jpeg_uri(picture: UInt8[ndarray, "h w 3"], quality: int = 86) -> str:
    """An RGB picture inside a page, as JPEG."""
    parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), parameters)[1]
    return data_uri("image/jpeg", encoded.tobytes())
