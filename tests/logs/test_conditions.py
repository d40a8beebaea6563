"""Conditions on rows: what they mean in each format, what they refuse, and that nothing in them is run."""

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.conditions import rows_where
from iadsr_cli.logs.reader import Log, read_log

CSV = '''user_id,item_id,event,rating,unit price,gift
a,1,buy,5,9.50,true
a,2,view,, 3,false
b,1,"cart ""x""",4.0,10,True
b,3,buy,3,1e1,
'''


@pytest.fixture
def log(tmp_path: Path) -> Log:
    path = tmp_path / "log.csv"
    path.write_text(CSV, encoding="utf-8")
    return read_log(str(path), LogSettings())


def table_of(folder: Path, **columns: Any) -> Log:
    rows = len(next(iter(columns.values())))
    ids = {"user_id": pa.array(["u"] * rows), "item_id": pa.array(range(rows))}
    pq.write_table(pa.table({**ids, **columns}), folder / "log.parquet")
    return read_log(str(folder / "log.parquet"), LogSettings())


def rows(log: Log, condition: str) -> list[int]:
    return np.flatnonzero(rows_where(log.records, condition, "--protect")).tolist()


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ('event=="buy"', [0, 3]),
        ("'buy' == event", [0, 3]),
        ('event != "buy"', [1, 2]),
        ('event in ("buy", "view")', [0, 1, 3]),
        ('event in ("buy")', [0, 3]),
        ('event in ["buy"]', [0, 3]),
        ('event not in {"buy", "view"}', [2]),
        ("event == 'cart \"x\"'", [2]),
        ('event == "`x`"', []),
        ("rating >= 4", [0, 2]),
        ("4 <= rating", [0, 2]),
        ("rating >= 4 and `unit price` < 10", [0]),
        ("rating > 4 or rating < 3.5", [0, 3]),
        ("3 < rating < 5", [2]),
        ("rating in (5, 3.0)", [0, 3]),
        ("rating != 5", [2, 3]),
        ("not rating == 5", [2, 3]),
        ("rating not in (5,)", [2, 3]),
        ("`unit price` == 10", [2, 3]),
        ("rating > -1", [0, 2, 3]),
        ("`rating` > 1 and rating < 1" + "0" * 400, [0, 2, 3]),
        ("gift == True", [0, 2]),
        ("gift != True", [1]),
        ('gift == ""', [3]),
        ('not (event == "buy" or rating > 3)', []),
        ('  event == "view"\n', [1]),
        ('event == "view"\nor event == "buy"', [0, 1, 3]),
        ("item_id == 1", [0, 2]),
        ('item_id == "1"', [0, 2]),
    ],
)
def test_what_conditions_mean_for_text_fields(log: Log, condition: str, expected: list[int]) -> None:
    assert rows(log, condition) == expected


def test_recbole_names_do_without_their_type(tmp_path: Path) -> None:
    path = tmp_path / "log.inter"
    path.write_text("user_id:token\titem_id:token\trating:float\na\t1\t5\na\t2\t3\n", encoding="utf-8")
    log = read_log(str(path), LogSettings())
    assert rows(log, "rating > 4") == rows(log, "`rating:float` > 4") == [0]


def test_json_values_are_compared_as_what_they_are(tmp_path: Path) -> None:
    values = [{"rating": 5, "é`": 1}, {"rating": None}, {}, {"rating": 3, "gift": True, "é": "ö"}]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"user_id": "u", "item_id": "i", **each}) + "\n" for each in values))
    log = read_log(str(path), LogSettings())
    assert rows(log, "rating < 6") == [0, 3]
    assert rows(log, "not rating > 3") == [3]
    assert rows(log, "gift == True") == [3]
    assert rows(log, "`é` == 'ö' and rating == 3") == [3]


def test_parquet_types(tmp_path: Path) -> None:
    log = table_of(
        tmp_path,
        whole=pa.array([1, 2**60 + 1, None], pa.int64()),
        small=pa.array([1, 2, 3], pa.uint8()),
        half=pa.array([0.1, 0.2, float("nan")], pa.float32()),
        money=pa.array([Decimal("0.35"), Decimal("1.10"), None]),
        kind=pa.array(["buy", "view", None]).dictionary_encode(),
        when=pa.array([datetime(2024, 1, 1), datetime(2024, 1, 2, 3), None], pa.timestamp("us", "Europe/Berlin")),
        local=pa.array([datetime(2024, 1, 1), datetime(2024, 1, 2, 3), None], pa.timestamp("ms")),
        day=pa.array([date(2024, 1, 1), date(2024, 1, 2), None]),
        gift=pa.array([True, False, None]),
        nothing=pa.nulls(3),
        code=pa.array(["7", "08", None]),
    )
    expected = {
        f"whole == {2**60 + 1}": [1],
        f"whole == {2**60 + 2}": [],
        f"whole < {10**30}": [0, 1],
        f"whole < 0x{'f' * 9999}": [0, 1],
        f"half < -0x{'f' * 9999}": [],
        "whole >= 1.5": [1],
        "small > -1": [0, 1, 2],
        "small < 300": [0, 1, 2],
        "half == 0.1": [0],
        "half != 0.1": [1],
        "money == 0.35": [0],
        "money >= 1.1": [1],
        "kind == 'buy'": [0],
        "kind != 'buy'": [1],
        "when > '2024-01-01'": [1],
        "when == '2024-01-01T01:00:00+01:00'": [0],
        "local <= '2024-01-01T00:00:00Z'": [0],
        "day >= '2024-01-02'": [1],
        "gift == False": [1],
        "nothing == 1 or nothing != 'x'": [],
        f"nothing < {10**30} or nothing == True or nothing >= '2024-01-01'": [],
        "code == 8": [1],
        "code == '8'": [],
    }
    assert {condition: rows(log, condition) for condition in expected} == expected


@pytest.mark.parametrize(
    ("condition", "error", "hint"),
    [
        ("rating >=", "--protect cannot be 'rating >=': invalid syntax at character 10.", "Write it as in"),
        ("event = 'buy'", "invalid syntax at character 7.", "equal is =="),
        ("(rating > 3", "'(' was never closed at character 1.", "Write it as in"),
        ("`unit price` > 3 )", "unmatched ')' at character 18.", "Write it as in"),
        ("`é é` > 3 )", "unmatched ')' at character 11.", "Write it as in"),
        ("event == 'buy", "unterminated string literal", "text stands in quotes"),
        ("", "invalid syntax at character 1.", "Write it as in"),
        ("(" * 300 + ")" * 300, "too many nested parentheses", "Write it as in"),
        ("event == '\\ud800'", "\"'\\ud800'\" at character 10 is not understood there.", "Compare columns"),
        ("event == '\udcff'", "it holds what is no text", "Write it as in"),
        (
            "__import__('os').system('x')",
            "\"__import__('os').system('x')\" at character 1 is not understood",
            "Compare",
        ),
        ("event.upper() == 'BUY'", '"event.upper()" at character 1 is not understood there.', "Compare columns"),
        ("event.__class__ == 'x'", '"event.__class__" at character 1', "Compare columns"),
        ("event == open('x')", "\"open('x')\" at character 10", "Compare columns"),
        ("event['x'] == 1", "\"event['x']\" at character 1", "Compare columns"),
        ("rating + 1 > 3", '"rating + 1" at character 1', "Compare columns"),
        ("rating > 1 & item_id > 3", '"1 & item_id" at character 10', "joined by and, or, not"),
        ("gift", '"gift" at character 1', "Compare columns"),
        ("True", '"True" at character 1', "Compare columns"),
        ("rating == None", '"None" at character 11', "Compare columns"),
        ("rating is None", '"rating is None" at character 1', "Compare columns"),
        ("rating > item_id", '"item_id" at character 10', "Compare columns with values"),
        ("1 < 2", '"1" at character 1', "Compare columns"),
        ("'b' in event", "\"'b'\" at character 1", "Compare columns"),
        ("event in ()", '"()" at character 10', "Compare columns"),
        ("event in ('buy', item_id)", '"item_id" at character 18', "Compare columns"),
        ("rating > 3 and (x := 4)", '"x := 4" at character 17', "Compare columns"),
        ("f'{rating}' == '5'", "\"f'{rating}'\" at character 1", "Compare columns"),
        ("(lambda: 1)() == rating", '"(lambda: 1)()" at character 1', "Compare columns"),
        ("[x for x in (1, 2)] == rating", '"[x for x in (1, 2)]" at character 1', "Compare columns"),
        ("rating > 3 if gift else 4", "is not understood there.", "Compare columns"),
        ("ratin > 3", 'Column "ratin" not found in', 'Candidates: "rating".'),
        ("rating > 3 and `unit-price` < 3", 'Column "unit-price" not found in', '"unit price"'),
    ],
)
def test_what_is_no_condition(log: Log, condition: str, error: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        rows_where(log.records, condition, "--protect")
    assert error in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ("event > 3", 'row 1 (line 2): "buy" in column "event" is not a number, as --protect \'event > 3\' needs it.'),
        ("event == True", 'row 1 (line 2): "buy" in column "event" is not true or false'),
        ("gift in (1, 2)", 'row 1 (line 2): "true" in column "gift" is not a number'),
    ],
)
def test_fields_that_are_not_what_they_are_compared_with(log: Log, condition: str, error: str) -> None:
    with pytest.raises(InputError) as caught:
        rows_where(log.records, condition, "--protect")
    assert error in caught.value.message
    assert caught.value.hint.startswith("Mend or empty the field")


@settings(deadline=None)
@given(before=st.integers(0, 40), after=st.lists(st.sampled_from(["1", "x", "", "2.5"]), max_size=40))
def test_the_first_field_that_is_no_number_is_named(
    tmp_path_factory: pytest.TempPathFactory, before: int, after: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    fields = ["4"] * before + ["n/a", *after]
    path.write_text("user_id,item_id,n\n" + "".join(f"u,i,{field}\n" for field in fields), encoding="utf-8")
    log = read_log(str(path), LogSettings())
    with pytest.raises(InputError, match=rf'row {before + 1} \(line {before + 2}\): "n/a" in column "n"'):
        rows_where(log.records, "n > 3", "--protect")


def test_types_that_cannot_be_compared(tmp_path: Path) -> None:
    log = table_of(
        tmp_path,
        whole=pa.array([1]),
        when=pa.array([datetime(2024, 1, 1)]),
        gift=pa.array([True]),
        tags=pa.array([["a"]]),
        raw=pa.array([b"\xff"], pa.binary()),
    )
    for condition, error, hint in (
        ("whole == '1'", 'Column "whole" of', "with a number, without quotes"),
        ("whole == True", "int64 values, which --protect cannot compare with True.", "with a number"),
        ("when > 5", "timestamp[us] values, which --protect cannot compare with 5.", "2024-01-31T12:00:00"),
        ("when > 'soon'", 'which --protect cannot compare with "soon".', "2024-01-31T12:00:00"),
        ("gift == 'yes'", 'bool values, which --protect cannot compare with "yes".', "with True or False"),
        ("tags == 'a'", "list<element: string> values", "Only text, numbers, times"),
        ("tags == 1", "list<element: string> values", "Only text, numbers, times"),
        ("raw == 'a'", "holds text that is not UTF-8, which", "Only text, numbers, times"),
    ):
        with pytest.raises(UsageError) as caught:
            rows_where(log.records, condition, "--protect")
        assert error in caught.value.message
        assert hint in caught.value.hint


NAMES = st.sampled_from(["a", "b c", "é", "and"])
PARTS = st.tuples(NAMES, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(-3, 3))


@settings(deadline=None)
@given(
    table=st.lists(st.tuples(*[st.integers(-3, 3)] * 4), min_size=1, max_size=20),
    parts=st.lists(PARTS, min_size=1, max_size=4),
    joins=st.lists(st.sampled_from(["and", "or", "and not", "or not"]), min_size=3, max_size=3),
)
def test_conditions_mean_what_python_means(
    tmp_path_factory: pytest.TempPathFactory, table: list, parts: list, joins: list
) -> None:
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    lines = ["user_id,item_id,a,b c,é,and", *("u,i," + ",".join(map(str, row)) for row in table)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    log = read_log(str(path), LogSettings())
    said = [f"`{name}` {operator} {number}" for name, operator, number in parts]
    typed = " ".join([said[0], *(f"{join} {part}" for join, part in zip(joins, said[1:], strict=False))])
    names = ["a", "b c", "é", "and"]
    python = typed
    for place, name in enumerate(names):
        python = python.replace(f"`{name}`", f"row[{place}]")
    expected = [number for number, row in enumerate(table) if eval(python, {"row": row})]
    assert rows(log, typed) == expected
