from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.evaluation import labels
from iadsr_cli.logs.reader import Log, read_log


def log_of(tmp_path: Path, column: str, values: list, format: str) -> Log:
    users = [f"u{i}" for i in range(len(values))]
    if format == "parquet":
        path = tmp_path / "log.parquet"
        pq.write_table(pa.table({"user_id": users, "item_id": users, column: values}), path)
    elif format == "jsonl":
        path = tmp_path / "log.jsonl"
        rows = [
            f'{{"user_id": "{user}", "item_id": "{user}", "{column}": {value}}}'
            for user, value in zip(users, values, strict=True)
        ]
        path.write_text("\n".join(rows) + "\n")
    else:
        path = tmp_path / "log.csv"
        rows = [f"{user},{user},{value}" for user, value in zip(users, values, strict=True)]
        path.write_text("\n".join([f"user_id,item_id,{column}", *rows]) + "\n")
    return read_log(str(path), LogSettings())


@pytest.mark.parametrize(
    ("values", "format"),
    [
        ([True, False, True], "parquet"),
        ([1, 0, 1], "parquet"),
        ([1.0, 0.0, 1.0], "parquet"),
        (["True", "false", "YES"], "csv"),
        (["1", "0", "1"], "csv"),
        (["true", "false", "true"], "jsonl"),
    ],
)
def test_a_column_says_which_rows_are_noise(tmp_path: Path, values: list, format: str) -> None:
    log = log_of(tmp_path, "is_noise", values, format)
    assert labels.read(log, "is_noise").tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("rating<=2", [True, True, False]),
        ("rating < 2", [True, False, False]),
        ("rating>2", [False, False, True]),
        ("rating >= 2.0", [False, True, True]),
        ("rating==2", [False, True, False]),
        ("rating != 2", [True, False, True]),
    ],
)
@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_a_comparison_says_which_rows_are_noise(tmp_path: Path, label: str, expected: list[bool], format: str) -> None:
    found = labels.read(log_of(tmp_path, "rating", [0.5, 2, 4.5], format), label)
    assert found.dtype == np.bool_
    assert found.tolist() == expected


def test_an_unknown_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    log = log_of(tmp_path, "rating", [1, 2], "csv")
    for label, said in (("ratng<=2", 'Column "ratng" not found in'), ("ratng", '--label names "ratng", which is no')):
        with pytest.raises(UsageError, match=said) as caught:
            labels.read(log, label)
        assert caught.value.hint == 'Candidates: "rating".'


def test_values_that_are_no_labels_are_refused_with_their_row(tmp_path: Path) -> None:
    log = log_of(tmp_path, "is_noise", ["1", "0", "maybe"], "csv")
    with pytest.raises(InputError, match=r'row 3 \(line 4\): "maybe" in column "is_noise" is no label'):
        labels.read(log, "is_noise")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([[1], []], "list<element: int64> values"),
        ([{"a": 1}, {"a": 0}], "struct<a: int64> values"),
        (pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())), "map<string, int64 ('is_noise')> values"),
        ([b"\xff", b"1"], "text that is not UTF-8"),
    ],
)
def test_what_can_be_no_label_is_refused(tmp_path: Path, values: list, found: str) -> None:
    log = log_of(tmp_path, "is_noise", values, "parquet")
    with pytest.raises(InputError) as caught:
        labels.read(log, "is_noise")
    assert caught.value.message == f'Column "is_noise" of {log.name} holds {found}, which are no labels.'
    assert "compare other values, as in 'rating<=2'" in caught.value.hint


@pytest.mark.parametrize("label", ["rating<=2", "rating!=5"])
def test_a_number_that_is_none_is_no_label(tmp_path: Path, label: str) -> None:
    log = log_of(tmp_path, "rating", [1.0, float("nan"), 5.0], "parquet")
    with pytest.raises(InputError, match=f"row 2: whether '{label}' holds is not known, as a value"):
        labels.read(log, label)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("is_noise", 'column "is_noise" has no value'),
        ("is_noise<1", "whether 'is_noise<1' holds is not known, as a value is missing"),
    ],
)
def test_a_missing_label_is_refused_with_its_row(tmp_path: Path, label: str, said: str) -> None:
    log = log_of(tmp_path, "is_noise", ["1", "", "0"], "csv")
    with pytest.raises(InputError, match=rf"row 2 \(line 3\): {said}\."):
        labels.read(log, label)


def test_a_comparison_with_or_of_something_else_than_numbers_is_refused(tmp_path: Path) -> None:
    log = log_of(tmp_path, "rating", ["good", "bad"], "csv")
    with pytest.raises(UsageError, match=r'--label cannot be .*"good" at character 9 is not') as caught:
        labels.read(log, "rating==good")
    assert 'event == "buy"' in caught.value.hint
    with pytest.raises(InputError, match='"good" in column "rating" is not a number, as --label'):
        labels.read(log, "rating<2")


def test_a_label_may_be_any_condition_that_protects(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,event,rating\na,1,view,0;5\na,2,misclick,3;5\na,3,view,4;0\n")
    settings = LogSettings(decimal=",")
    (tmp_path / "log.csv").write_text((tmp_path / "log.csv").read_text().replace(",", "|").replace(";", ","))
    log = read_log(str(tmp_path / "log.csv"), replace(settings, delimiter="|"))
    assert labels.read(log, "rating<=2").tolist() == [True, False, False]
    assert labels.read(log, 'event == "misclick" or not rating < 4').tolist() == [False, True, True]
    assert labels.read(log, 'event in ("misclick", "gift")').tolist() == [False, True, False]
