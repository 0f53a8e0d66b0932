"""The report's frame: one HTML document without a single outside reference, in the reader's own font and
light or dark theme."""

from html import escape

STYLE = """
:root { --font: system-ui, -apple-system, "Segoe UI", "Helvetica Neue", sans-serif; --mono: ui-monospace, "SF Mono", Menlo, Consolas, monospace;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1d2129; --faint: #666d7a; --line: #e3e4e0; --accent: #c9481a; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --card: #1b1e24; --ink: #e7e9ee; --faint: #98a0ae; --line: #30343d;
  --accent: #ff8a5c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.55 var(--font); -webkit-text-size-adjust: 100%; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -.02em; font-weight: 680; }
h2 { font-size: 19px; margin: 52px 0 4px; letter-spacing: -.01em; font-weight: 650; }
h3 { font-size: 14px; margin: 22px 0 6px; font-weight: 620; }
p, .note { margin: 4px 0 12px; color: var(--faint); max-width: 78ch; }
.note { font-size: 13px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); gap: 12px; margin: 26px 0 0; }
.figure, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.figure { padding: 14px 16px; }
.figure b { display: block; font-size: 27px; line-height: 1.25; font-weight: 660; letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
.figure b small { font-size: 14px; font-weight: 500; color: var(--faint); letter-spacing: 0; }
.figure span { font-size: 13px; color: var(--faint); display: block; line-height: 1.4; }
.card { padding: 14px 16px; margin: 10px 0; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 7px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
tr:last-child td, tr:last-child th { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; padding-left: 2px; }
thead th { color: var(--faint); font-weight: 520; font-size: 12.5px; }
tbody th { font-weight: 540; }
td.best { font-weight: 720; color: var(--accent); }
td .unit { color: var(--faint); }
td .interval { display: block; color: var(--faint); font-weight: 400; font-size: 11.5px; line-height: 1.3; }
td.sure { font-weight: 660; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 8px; }
.chart { width: 100%; height: auto; display: block; }
.narrow { max-width: 760px; }
.strip { border-collapse: separate; border-spacing: 4px; width: auto; }
.strip th, .strip td { border: 0; padding: 0; text-align: center; font-size: 12px; }
.strip th:first-child { text-align: left; padding-right: 10px; color: var(--ink); font-weight: 560; }
.strip img { display: block; width: 112px; height: 112px; border-radius: 6px; }
.strip .hidden { color: var(--faint); font-weight: 450; line-height: 1.3; padding-bottom: 3px; }
.strip .hidden.much { color: var(--accent); font-weight: 640; }
.strip .mm { color: var(--faint); line-height: 1.5; }
.stills { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: 8px; }
.stills img, video { width: 100%; border-radius: 8px; display: block; }
video { max-width: 760px; background: #000; }
pre { font: 12.5px/1.5 var(--mono); margin: 0; white-space: pre-wrap; word-break: break-word; }
details { margin: 8px 0; } summary { cursor: pointer; color: var(--faint); font-size: 13.5px; }
details pre { max-height: 420px; overflow: auto; padding-top: 8px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 0; font-size: 14px; }
dt { color: var(--faint); } dd { margin: 0; }
@media print { main { max-width: none; padding: 0; } .card, .figure { break-inside: avoid; } }
"""


def document(title: str, subtitle: str, body: list[str]) -> str:
    """The whole page around its sections (HTML already)."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n<p>{escape(subtitle)}</p>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, note: str, *parts: str) -> str:
    """A heading, a line of explanation and the parts under it."""
    return f"<section>\n<h2>{escape(title)}</h2>\n<p>{escape(note)}</p>\n" + "\n".join(parts) + "\n</section>"


def card(content: str, classes: str = "") -> str:
    """A framed part of the page."""
    return f'<div class="card {classes}">{content}</div>'


def table(head: list[str], rows: list[tuple[str, list[str]]]) -> str:
    """A table; cells are HTML, `<td>...</td>` with their classes, row heads too (text)."""
    header = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr><th>{name}</th>{''.join(cells)}</tr>" for name, cells in rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
