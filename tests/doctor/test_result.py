"""The table and the JSON of results."""

import json

from tempohand.doctor.result import Result, judge, table, write_json

RESULTS = [
    Result("depth", "500 mm", "20 to 200000 mm", number=500.0),
    Result(
        "a check with a long name",
        "a value that is so long that it has to go on in a second line of its cell",
        "0",
        "FAILED",
        "word " * 60,
    ),
    Result("time", "99 %", "all", "warning", "a frame is late"),
]


def test_the_table_says_everything_in_lines_of_a_terminal():
    text = table(RESULTS)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 150 and lines[-1] == "1 ok, 1 warning, 1 FAILED"
    assert " ".join(text.split()).count("word") == 60 and "    a frame is late" in lines
    (first,) = [line for line in lines if line.startswith("depth")]
    assert first.split("  ")[0] == "depth" and first.endswith("ok")


def test_the_json_has_every_field(tmp_path):
    write_json(RESULTS, tmp_path / "new" / "doctor.json")
    content = json.loads((tmp_path / "new" / "doctor.json").read_text())
    assert content["failed"] == 1 and [check["verdict"] for check in content["checks"]] == [
        "ok",
        "FAILED",
        "warning",
    ]
    assert content["checks"][0] == {
        "check": "depth",
        "value": "500 mm",
        "expected": "20 to 200000 mm",
        "verdict": "ok",
        "cause": "",
        "number": 500.0,
    }
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["doctor.json"]


def test_a_share_of_bad_rows_is_judged():
    assert [judge(share) for share in (0.0, 0.01, 0.2)] == ["ok", "warning", "FAILED"]
