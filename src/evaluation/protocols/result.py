"""What the evaluation by a protocol leaves behind: protocol_<name>.json and its table."""

from tempohand.console import text_table
from tempohand.evaluation.bootstrap import LEVEL, MIN_RECORDINGS, RESAMPLES
from tempohand.evaluation.protocols.quantity import Quantity
from tempohand.evaluation.results import bounds_text, number, without_nan


def protocol_json(rows: dict[str, list[Quantity]], drawn_by: str = "recordings", **about) -> dict:
    """The content of protocol_<name>.json: `about`, `bootstrap`, and `rows`: row -> quantity -> value, unit,
    n, low, high (None where unknown) and, of areas, the `curve`.

    drawn_by: what the bootstrap drew, "sequences" where the table knows no recordings.
    """
    tables = {
        row: {
            quantity.name: {
                "value": quantity.value,
                "unit": quantity.unit,
                "n": quantity.n,
                "low": quantity.interval and quantity.interval[0],
                "high": quantity.interval and quantity.interval[1],
                **({"curve": quantity.curve} if quantity.curve else {}),
            }
            for quantity in quantities
        }
        for row, quantities in rows.items()
    }
    bootstrap = {
        "resamples": RESAMPLES,
        "seed": 0,
        "level": LEVEL,
        "drawn": drawn_by,
        "least": MIN_RECORDINGS,
    }
    return without_nan({**about, "bootstrap": bootstrap, "rows": tables})


def protocol_table(content: dict) -> str:
    """protocol_<name>.json for a terminal: a line a quantity, a column a network."""
    rows = content["rows"]
    lines = []
    intervals = False
    for name, quantity in next(iter(rows.values())).items():
        cells = [
            number(row[name]["value"]) + bounds_text(row[name]["low"], row[name]["high"])
            for row in rows.values()
        ]
        lines.append([name, quantity["unit"], f"{quantity['n']}", *cells])
        intervals = intervals or quantity["low"] is not None
    bootstrap = content["bootstrap"]
    how = f"; {bootstrap['level']:.0%} intervals: bootstrap over {bootstrap['drawn']}" if intervals else ""
    boxes = content.get("boxes") or "not recorded in the table"
    title = f"{content['title']}: truth is {content['truth']}; boxes: {boxes}{how}"
    table = f"{title}\n{text_table(['', 'unit', 'n', *rows], lines)}"
    if not content["missing"]:
        return table
    return (
        f"{table}\n{content['missing']} samples of the official order have no prediction and are not in the "
        "figures: the official script wants all"
    )
