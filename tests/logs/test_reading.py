"""What is read: formats, roles, ids that join, times that compare, item texts."""

import gzip
import io
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iadsr_cli.config import ItemsSettings, LogSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs import formats, reader
from iadsr_cli.logs.conditions import rows_where
from iadsr_cli.logs.formats import Format, format_of
from iadsr_cli.logs.reader import read_items, read_log
from iadsr_cli.logs.schema import Roles, find_roles
from iadsr_cli.sequences import make_sequences


def read(tmp_path, content, name="log.csv", **settings):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_log(str(path), LogSettings(**settings))


def read_table(tmp_path, columns, **settings):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(columns), path)
    return read_log(str(path), LogSettings(**settings))


@pytest.mark.parametrize(
    ("name", "override", "expected"),
    [
        ("a.csv", "auto", Format("csv")),
        ("a.CSV.GZ", "auto", Format("csv", "gzip")),
        ("a.tsv.zst", "auto", Format("tsv", "zstd")),
        ("my.logs.pq", "auto", Format("parquet")),
        ("a.ndjson", "auto", Format("jsonl")),
        ("ml.inter", "auto", Format("tsv")),
        ("ml.item", "auto", Format("tsv")),
        ("ratings.dat.gz", "csv", Format("csv", "gzip")),
        ("ratings.dat.gz", "auto", Format("dat", "gzip")),
        ("u.data", "auto", Format("dat")),
        ("a.csv", "jsonl", Format("jsonl")),
    ],
)
def test_format_by_name(name, override, expected):
    assert format_of(name, override) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n1\t2,3\n", Format("csv")),
        (b"\xef\xbb\xbfa\tb\n1\t2\n", Format("tsv")),
        (b'\n{"a": 1}\n', Format("jsonl")),
        ('{"a": 1}\n'.encode("utf-16"), Format("jsonl")),
        ('{"a": 1}\n'.encode("utf-32-be"), Format("jsonl")),
        (b'[\n  {"a": 1}\n]', Format("jsonl")),
        (b"[user],[item]\n1,2\n", Format("csv")),
        (b"PAR1...", Format("parquet")),
        (gzip.compress(b'{"a": 1}', mtime=0), Format("jsonl", "gzip")),
        (zstandard.compress(b"a\tb"), Format("tsv", "zstd")),
    ],
)
def test_format_by_content(content, expected):
    assert format_of("-", "auto", content) == expected


def test_standard_input(monkeypatch):
    content = gzip.compress(b"user\titem\n1\t2\n", mtime=0)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    log = read_log("-", LogSettings())
    assert (log.name, log.format, log.num_rows) == ("standard input", Format("tsv", "gzip"), 1)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["userId", "movieId", "rating", "timestamp"], Roles("userId", "movieId", "timestamp", ())),
        (["user_id:token", "item_id:token", "timestamp:float"], None),
        (["reviewerID", "asin", "unixReviewTime", "overall"], Roles("reviewerID", "asin", "unixReviewTime", ())),
        (["visitorid", "itemid", "event"], Roles("visitorid", "itemid", None, ())),
        (["CUSTOMER_ID", "Product_Id", "ts"], Roles("CUSTOMER_ID", "Product_Id", "ts", ())),
        (["text", "user", "item", "title"], Roles("user", "item", None, ("title", "text"))),
        (["uid", "track_id", "created_at"], Roles("uid", "track_id", "created_at", ())),
        (["household_key", "SKU", "Product Name"], Roles("household_key", "SKU", None, ("Product Name",))),
        (
            ["customer", "StockCode", "headline", "app_name"],
            Roles("customer", "StockCode", None, ("app_name", "headline")),
        ),
        (["session", "item_id"], Roles("session", "item_id", None, ())),
        (["user_session", "product_id"], Roles("user_session", "product_id", None, ())),
        (["user_session", "product_id", "user_id"], Roles("user_id", "product_id", None, ())),
        (["username", "user_id", "isbn", "asin", "app_name", "name"], Roles("user_id", "asin", None, ("name",))),
    ],
)
def test_roles_by_usual_names(columns, expected):
    expected = expected or Roles(*columns, ())
    assert find_roles(columns, LogSettings(), "log") == expected


@pytest.mark.parametrize("session", ["session_id", "session", "user_session"])
def test_a_session_is_never_taken_silently_where_a_column_names_a_person(session):
    with pytest.raises(UsageError) as caught:
        find_roles([session, "username", "item_id"], LogSettings(), "log")
    assert caught.value.message == f'2 columns of log could be the user column: "username", "{session}".'
    assert caught.value.hint == "Choose with --user-column username."


def test_a_less_usual_text_is_looked_at_as_others_are(tmp_path):
    rows = "".join(f"{n},{n % 3},headline {n},game {n % 3}\n" for n in range(9))
    texts = read(tmp_path, "username,game_id,headline,game_title\n" + rows).item_texts()
    assert texts.columns == ("game_title",)
    assert 'column "headline" is not item text' in texts.rejected


def test_an_items_file_has_its_ids_where_the_log_has_them(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("item_id,sku,title\n1,a,Cup\n2,b,Tea\n")
    assert read_items(str(path), LogSettings(), "sku").ids == ["a", "b"]
    assert read_items(str(path), LogSettings(), "product_id").ids == ["1", "2"]


def test_roles_by_flags():
    columns = ["user_id", "session_id", "item_id", "timestamp", "title", "blurb"]
    settings = LogSettings(user_column="session_id", time_column="none", text_column=("blurb", "title"))
    assert find_roles(columns, settings, "log") == Roles("session_id", "item_id", None, ("blurb", "title"))
    settings = LogSettings(user_column="user_id", text_column=("none",))
    assert find_roles(columns, settings, "log").text == ()
    assert find_roles(["u:token", "item"], LogSettings(user_column="u"), "log").user == "u:token"
    with pytest.raises(UsageError, match='"none" was given together with "title"'):
        find_roles(columns, LogSettings(user_column="user_id", text_column=("none", "title")), "log")


def test_byte_order_mark_is_no_part_of_a_name(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbfuser_id,item_id\n1,2\n").column_names == ["user_id", "item_id"]
    log = read(tmp_path, b"\xef\xbb\xbf1,2\n3,4\n", header=False, columns="user_id, item_id")
    assert log.user_ids().to_pylist() == ["1", "3"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_text_without_a_byte_order_mark_is_read_in_the_order_it_has(tmp_path, encoding, order):
    log = read(tmp_path, "user_id,item_id\n1,\u00e9\n".encode(f"{encoding}-{order}"), encoding=encoding)
    assert log.item_ids().to_pylist() == ["\u00e9"]


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ("user_id,item_id,...", ["user_id", "item_id", "column_3", "column_4"]),
        ("user_id, item_id, x, y, ...", ["user_id", "item_id", "x", "y"]),
        ("...", ["column_1", "column_2", "column_3", "column_4"]),
    ],
)
def test_names_of_the_first_fields_alone(tmp_path, columns, names):
    own = {"user_column": names[0], "item_column": names[1]}
    log = read(tmp_path, "1,2,3,4\n5,6,7,8\n", header=False, columns=columns, **own)
    assert log.column_names == names
    assert log.column(names[3]).to_pylist() == ["4", "8"]


def test_delimiters(tmp_path):
    assert read(tmp_path, "user_id;item_id\n1;2\n", delimiter=";").item_ids().to_pylist() == ["2"]
    assert read(tmp_path, "user_id\titem_id\n1\t2\n", delimiter=r"\t").item_ids().to_pylist() == ["2"]
    assert read(tmp_path, "user_id\u00a7item_id\n1\u00a72\n", delimiter="\u00a7").item_ids().to_pylist() == ["2"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([22, 2**53 + 1], pa.int64()),
        pa.array(["22", str(2**53 + 1)]),
        pa.array(["22", str(2**53 + 1)], pa.large_string()),
        pa.array(["22", str(2**53 + 1)]).dictionary_encode(),
        pa.array([22, 2**53 + 1], pa.uint64()),
        pa.array([b"22", str(2**53 + 1).encode()], pa.binary()),
        pa.array([b"22", str(2**53 + 1).encode()], pa.binary_view()),
        pa.array([Decimal(22), Decimal(2**53 + 1)], pa.decimal64(18, 1)),
        pa.array([Decimal(22), Decimal(2**53 + 1)], pa.decimal128(20, 2)),
    ],
)
def test_ids_are_the_same_in_every_type(tmp_path, values):
    log = read_table(tmp_path, {"user_id": values, "item_id": values})
    assert log.user_ids().to_pylist() == ["22", "9007199254740993"]
    assert log.user_ids().type == pa.large_string()


def test_float_ids_are_whole_numbers(tmp_path):
    log = read_table(tmp_path, {"user_id": [22.0, -0.0, None], "item_id": pa.array([1, 2, 3], pa.float32())},
                     null_ids="keep")  # fmt: skip
    assert log.user_ids().to_pylist() == ["22", "0", None]
    assert log.item_ids().to_pylist() == ["1", "2", "3"]


def test_text_ids_stay_as_they_stand(tmp_path):
    log = read(tmp_path, 'user_id,item_id\n007," 1.50"\nNA,nan\n')
    assert log.user_ids().to_pylist() == ["007", "NA"]
    assert log.item_ids().to_pylist() == [" 1.50", "nan"]


def test_json_ids_and_columns(tmp_path):
    lines = (
        '{"user_id": 22, "item_id": "a", "big": 1, "f": 1, "m": 1, "l": [1], "b": true}\n'
        '{"user_id": "22", "item_id": "\\ud83d", "big": 123456789012345678901, "f": 2.5, "m": "x", "l": [2, 3]}\n'
        '{"user_id": 9007199254740993, "item_id": "c", "f": null, "b": false}\n'
    )
    log = read(tmp_path, lines, "log.jsonl")
    assert log.user_ids().to_pylist() == ["22", "22", "9007199254740993"]
    assert log.item_ids().to_pylist() == ["a", "\\ud83d", "c"]
    assert log.column("big").to_pylist() == ["1", "123456789012345678901", None]
    assert log.column("f").to_pylist() == [1.0, 2.5, None]
    assert log.column("m").to_pylist() == ["1", "x", None]
    assert log.column("l").to_pylist() == [[1], [2, 3], None]
    assert log.column("b").to_pylist() == [True, None, False]


def test_json_integers_beside_floats_are_never_rounded(tmp_path):
    lines = '{"user_id": 1, "item_id": 2, "x": 0.5}\n{"user_id": 1, "item_id": 2, "x": 9007199254740993}\n'
    assert read(tmp_path, lines, "log.jsonl").column("x").to_pylist() == ["0.5", "9007199254740993"]


def test_json_float_ids_join_integers(tmp_path):
    log = read(tmp_path, '{"user_id": 1, "item_id": 22.0}\n{"user_id": 2, "item_id": 7}\n', "log.jsonl")
    assert log.item_ids().to_pylist() == ["22", "7"]


@pytest.mark.parametrize(
    ("values", "order", "description"),
    [
        (["1500000000", "1400000000"], [1500000000, 1400000000], "time (unix seconds)"),
        (["1500000000123", "0"], [1500000000123, 0], "time (unix milliseconds)"),
        (["1500000000123456", "1"], [1500000000123456, 1], "time (unix microseconds)"),
        (["1500000000123456789", "1"], [1500000000123456789, 1], "time (unix nanoseconds)"),
        (["4102444800", "315532799"], [4102444800, 315532799], "time (order)"),
        (["20240131090000", "20240201080000"], [20240131090000, 20240201080000], "time (order)"),
        (["99999999", "0"], [99999999, 0], "time (order)"),
        # The end of the year 9999 is what stands for "never" in many logs.
        (["1500000000", "253402300799", "-1"], [1500000000, 253402300799, -1], "time (unix seconds)"),
        (["1500000000123", "253402300799999"], [1500000000123, 253402300799999], "time (unix milliseconds)"),
        (["315532800", "4102444799", "1e8"], (1, 2, 0), "time (unix seconds)"),
        (["315532799", "315532800000"], [315532799, 315532800000], "time (unix milliseconds)"),
        (["1.5e9", "1.4e9"], (1, 0), "time (unix seconds)"),
        (["1500000000.5", "1500000000.25", "-0.5", "-2.5", "0", "-0.0"], (4, 3, 1, 0, 2, 2), "time (unix seconds)"),
        ([" 7 ", "-1"], [7, -1], "time (order)"),
        (
            ["1970-01-01T00:00:01Z", "1970-01-01 01:00:00+01:00", "1970-01-01"],
            [10**9, 0, 0],
            "time (ISO 8601, UTC where no zone is given)",
        ),
        (["1500-01-01", "1500-01-02"], (0, 1), "time (ISO 8601, UTC where no zone is given)"),
        (["13/01/1970", "01/02/1970"], [12 * 86400 * 10**9, 31 * 86400 * 10**9], "time (%d/%m/%Y, UTC where "),
        (["01/02/1970", "13/01/1970"], [31 * 86400 * 10**9, 12 * 86400 * 10**9], "time (%d/%m/%Y, UTC where "),
        (["1/11/1970 1:05:00 PM", "1/13/1970 9:06:00 AM"], (0, 1), "time (%m/%d/%Y %I:%M:%S %p, UTC where "),
        (["1970-01-01 12:00:01 AM", "1970-01-01 12:00:01 PM"], [10**9, 43201 * 10**9], "time (%Y-%m-%d %I:%M:%S %p"),
        (["17 Sep 2015 11:06 pm", "17 Sep 2015 9:00 am"], (1, 0), "time (%d %b %Y %I:%M %p"),
        (
            ["Thu Jan 01 01:00:01 +0100 1970", "Wed Dec 31 16:00:00 -0800 1969"],
            [10**9, 0],
            "time (%a %b %d %H:%M:%S %z %Y",
        ),
        (["01/Jan/1970:00:00:01 +0000", "01/Jan/1970:00:00:00 +0000"], [10**9, 0], "time (%d/%b/%Y:%H:%M:%S %z"),
        (["01/02/1970", "01/03/1970"], [86400 * 10**9, 2 * 86400 * 10**9], "time (%m/%d/%Y, UTC where "),
    ],
)
def test_times_in_text(tmp_path, values, order, description):
    rows = "".join(f"{n},1,{value}\n" for n, value in enumerate(values))
    log = read(tmp_path, "user_id,item_id,time\n" + rows)
    assert log.time_description.startswith(description)
    check_order(log.order(), order)


@pytest.mark.parametrize(
    ("values", "other"),
    [
        (["03/04/2012", "04/03/2012", "12/12/2012"], "%d/%m/%Y"),
        (["03.04.2012 10:15", "04.03.2012 09:00"], "%d.%m.%Y %H:%M"),
        (["03/04/2012", "03/13/2012"], None),
        ([*["03/04/2012"] * 3000, *(f"01/{n % 12 + 1:02}/{1970 + n // 12}" for n in range(1200)), "03/13/2012"], None),
        (["03/04/2012", "13/04/2012"], None),
        (["01/01/2012", "02/02/2012"], None),  # either way the same
        (["2012-03-04", "2012-04-03"], None),
        (["2012/03/04", "2012/04/03"], None),
        (["04 Mar 2012", "03 Apr 2012"], None),
    ],
)
def test_days_and_months_that_may_be_either_are_warned_of(tmp_path, values, other):
    rows = "".join(f"{n},1,{value}\n" for n, value in enumerate(values))
    log = read(tmp_path, "user_id,item_id,time\n" + rows)
    if other is None:
        assert not log.warnings
        return
    (warning,) = log.warnings
    month_first = other.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")
    assert f'Column "time" is read as {month_first}, month first, but all its times fit {other} as well.' in warning
    assert "write times as 2024-01-31 (ISO 8601)" in warning
    assert not read(tmp_path, "user_id,item_id,time\n" + rows, time_column="none").warnings


def check_order(found, wanted):
    """A list holds the numbers themselves, a tuple their ranks: floats stand for their order only."""
    if isinstance(wanted, tuple):
        assert np.unique(found, return_inverse=True)[1].tolist() == list(wanted)
    else:
        assert found.tolist() == wanted


@pytest.mark.parametrize(
    ("values", "order", "description"),
    [
        (pa.array([5, 4], pa.timestamp("ms")), [5, 4], "time (timestamps, UTC)"),
        (pa.array([5, 4], pa.timestamp("ns", "Europe/Paris")), [5, 4], "time (timestamps, Europe/Paris)"),
        (pa.array([date(1970, 1, 3), date(1970, 1, 1)]), [2, 0], "time (dates)"),
        (pa.array([86_400_000 * 2, 0], pa.date64()), [2, 0], "time (dates)"),
        (pa.array([2**63 + 1, 2**63], pa.uint64()), [1, 0], "time (order)"),
        (pa.array([1.5, 0.5]), (1, 0), "time (order)"),
        (pa.array([2.0, 1.0]), (1, 0), "time (order)"),
        (pa.array([Decimal("1.50"), Decimal("0.25")]), [1, 0], "time (order)"),
        (pa.array(["1970-01-02", "1970-01-01"]).dictionary_encode(), [86400 * 10**9, 0], "time (ISO 8601, "),
    ],
)
def test_times_in_columns(tmp_path, values, order, description):
    log = read_table(tmp_path, {"user_id": [1, 2], "item_id": [1, 2], "time": values})
    check_order(log.order(), order)
    assert log.time_description.startswith(description)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([5, None, 4, 3], pa.int64()),
        pa.array([2**63 + 3, None, 2**63, 0], pa.uint64()),
        pa.array([1.5, None, 0.5, -1.0]),
        pa.array([1.5, float("nan"), 0.5, float("-3")]),
        pa.array([5, None, 4, 3], pa.timestamp("ms")),
        pa.array([date(1970, 1, 3), None, date(1970, 1, 2), date(1970, 1, 1)]),
        pa.array([Decimal("1.50"), None, Decimal("0.25"), Decimal("-1")]),
        pa.array(["1700000002", "", "1700000001", "7"]),
        pa.array(["1.5", "NA", "1", ".5"]),
        pa.array(["1.5", "nan", "1", ".5"]),
        pa.array(["2024-01-03", " ", "2024-01-02", "2024-01-01"]),
        pa.array(["3024-01-03", None, "2024-01-02", "1024-01-01"]),
        pa.array(["13/01/2024", "NA", "12/01/2024", "11/01/2024"]).dictionary_encode(),
    ],
)
def test_rows_without_a_time_take_no_part_when_they_are_kept(tmp_path, values):
    columns = {"user_id": [1, 2, 1, 2], "item_id": [1, 2, 3, 4], "time": values, "title": list("abcd")}
    with pytest.raises(InputError, match="1 of 4 rows has no time in column") as caught:
        read_table(tmp_path, columns, null_values="NA")
    assert caught.value.hint.startswith("Pass --null-times keep: such rows are kept and not scored.")
    log = read_table(tmp_path, columns, null_values="NA", null_times="keep")
    assert log.item_ids().to_pylist() == ["1", None, "3", "4"]
    assert log.timeless.tolist() == [False, True, False, False]
    assert np.argsort(log.order()[[0, 2, 3]]).tolist() == [2, 1, 0]
    assert log.item_texts().ids == ["1", "2", "3", "4"]
    sequences = make_sequences(log.user_ids(), log.item_ids(), log.order())
    assert sequences.row_ids.tolist() == [2, 0, 3]
    columns["time"] = pa.nulls(4, values.type)
    with pytest.raises(InputError, match="4 of 4 rows have no time in column") as caught:
        read_table(tmp_path, columns, null_times="keep")
    assert caught.value.hint.startswith("Fill them in, or pass --time-column none")


def test_a_row_without_an_id_and_a_time_is_one_without_an_id(tmp_path):
    text = "user_id,item_id,time\n,1,\n1,,\n1,2,\n1,3,5\n"
    log = read(tmp_path, text, null_ids="keep", null_times="keep")
    assert log.timeless.tolist() == [False, False, True, False]
    assert log.item_ids().to_pylist() == ["1", None, None, "3"]


def test_time_unit_and_file_order(tmp_path):
    text = "user_id,item_id,time\n1,2,5\n"
    assert read(tmp_path, text, time_unit="ms").time_description == "time (unix milliseconds)"
    log = read(tmp_path, text, time_column="none")
    assert (log.order(), log.time_description, log.roles.time) == (None, None, None)


MIXED = [1_700_000_000 + n for n in range(5)]
MIXED[3] *= 1_000


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "text", "float", "decimal"])
@pytest.mark.parametrize("unit", ["auto", "s", "ms"])
def test_one_time_in_another_unit_is_named(tmp_path, kind, unit):
    if kind == "csv":
        lines = "".join(f"{n},1,{value}\n" for n, value in enumerate(MIXED))
        log = partial(read, tmp_path, "user_id,item_id,time\n" + lines)
    elif kind == "jsonl":
        lines = "".join(f'{{"user_id": {n}, "item_id": 1, "time": {value}}}\n' for n, value in enumerate(MIXED))
        log = partial(read, tmp_path, lines, "log.jsonl")
    else:
        made = {"text": str, "float": float, "decimal": Decimal}.get(kind, int)
        log = partial(read_table, tmp_path, {"user_id": range(5), "item_id": range(5), "time": list(map(made, MIXED))})
    with pytest.raises(InputError) as caught:
        log(time_unit=unit)
    point = ".0" if kind == "float" else ""
    line = {"csv": " (line 5)", "jsonl": " (line 4)"}.get(kind, "")
    first = {"csv": " (line 2)", "jsonl": " (line 1)"}.get(kind, "")
    assert caught.value.message.endswith(
        f', row 4{line}: 1700000003000{point} in column "time" is in milliseconds, but 1700000000{point} in row 1'
        f"{first} is in seconds, as 4 of 5 times are."
    )
    assert "in one unit, or pass --time-column none" in caught.value.hint
    assert ("--time-unit" in caught.value.hint) == (unit == "auto")


def test_numbers_that_do_not_count_from_1970_need_their_unit(tmp_path):
    text = "user_id,item_id,time\n1,2,400000000\n1,3,400000000000\n1,3,7\n"  # microseconds since a start
    with pytest.raises(InputError, match="in seconds, as 1 of 2 times are") as caught:
        read(tmp_path, text)
    assert "say their unit with --time-unit" in caught.value.hint
    assert read(tmp_path, text, time_unit="us").order().tolist() == [400000000, 400000000000, 7]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), unit=st.sampled_from(["s", "ms", "us", "ns"]), type=st.sampled_from([int, float, str]))
def test_times_in_one_unit_are_never_refused(tmp_path, data, unit, type):
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    first, last = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * scale for year in (1980, 2100))
    dates = data.draw(st.lists(st.integers(first, last - scale), min_size=1, max_size=5))
    others = data.draw(st.lists(st.one_of(st.integers(-last, 0), st.integers(0, 10**8)), max_size=3))
    values = data.draw(st.permutations(dates + others))
    columns = {"user_id": range(len(values)), "item_id": range(len(values)), "time": list(map(type, values))}
    log = read_table(tmp_path, columns)
    names = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
    assert log.time_description == f"time (unix {names[unit]})"
    wanted = np.array(values, np.float64 if type is float else np.int64)
    assert np.array_equal(np.argsort(log.order(), kind="stable"), np.argsort(wanted, kind="stable"))


def test_item_texts(tmp_path):
    columns = {
        "user_id": [1, 2, 3, 4, 5],
        "item_id": [7, 8, 7, 9, None],
        "title": [None, " Tea ", "Cup", "  ", "Lost"],
        "description": [["A", "b"], None, ["Other"], [], ["x"]],
    }
    texts = read_table(tmp_path, columns, null_ids="keep").item_texts()
    assert texts.ids == ["7", "8", "9"]
    # Item 7's descriptions differ on its two rows, and it is the only item with two: guessed, so left out.
    assert texts.texts == ["Cup", "Tea", None]
    assert texts.columns == ("title",)
    assert "description" in texts.rejected
    named = read_table(tmp_path, columns, null_ids="keep", text_column=("title", "description")).item_texts()
    assert named.texts == ["A b", "Tea", None]
    assert (named.conflicting, named.rejected) == (1, None)


def test_reviews_are_not_item_texts(tmp_path):
    rows = "".join(f"{n},{n % 3},text {n}\n" for n in range(9))
    log = read(tmp_path, "user_id,item_id,text\n" + rows)
    texts = log.item_texts()
    assert (texts.ids, texts.texts, texts.columns) == (["0", "1", "2"], [None] * 3, ())
    assert texts.rejected == (
        'column "text" is not item text: it differs between the rows of 3 of the 3 items with two or more rows'
    )
    assert read(tmp_path, "user_id,item_id\n1,2\n").item_texts().rejected is None


def test_a_few_conflicts_are_counted_not_rejected(tmp_path):
    rows = "1,1,a\n1,1,b\n1,2,c\n1,2,c\n1,3,d\n"
    texts = read(tmp_path, "user_id,item_id,title\n" + rows).item_texts()
    assert (texts.ids, texts.texts, texts.conflicting, texts.rejected) == (["1", "2", "3"], ["a", "c", "d"], 1, None)


def test_decimal_commas(tmp_path):
    text = "user;item;time;price\na;1;1700000001,5;3,50\na;2;1700000001,25;12,00\na;3;1700000000;2,75\n"
    log = read(tmp_path, text, delimiter=";", decimal=",")
    assert np.argsort(log.order(), kind="stable").tolist() == [2, 1, 0]
    assert rows_where(log.records, "price > 3.4", "--protect").tolist() == [True, True, False]
    assert log.column("price").to_pylist() == ["3,50", "12,00", "2,75"]
    with pytest.raises(InputError, match='"1700000001,5" in column "time" is not a time'):
        read(tmp_path, text, delimiter=";").order()


def test_what_is_too_much_when_decompressed_is_refused(tmp_path, monkeypatch):
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"user,item\n" + b"a,1\n" * 100_000))
    assert read_log(str(tmp_path / "bomb.csv.gz"), LogSettings()).num_rows == 100_000
    (tmp_path / "long.csv").write_bytes(b"user,item\n" + b"a,1\n" * 100_000)
    monkeypatch.setattr(formats, "half_the_memory", lambda: 100_000)
    monkeypatch.setattr(reader, "half_the_memory", lambda: 100_000)
    monkeypatch.setattr(formats, "_PIECE", 10_000)
    with pytest.raises(InputError, match="half of this machine's memory") as caught:
        read_log(str(tmp_path / "bomb.csv.gz"), LogSettings())
    assert "--in-parts always" in caught.value.hint
    with pytest.raises(InputError, match=r"long\.csv is more than 0\.0 GiB, half of this machine's memory"):
        read_log(str(tmp_path / "long.csv"), LogSettings())


def test_null_values(tmp_path):
    text = "user_id,item_id,title\n1,NA,Lost\n\\N,7,NA\n2,7,Cup\n,8,\n"
    log = read(tmp_path, text, null_values=r"NA,\N", null_ids="keep")
    assert log.user_ids().to_pylist() == ["1", None, "2", None]
    assert log.item_ids().to_pylist() == [None, "7", "7", "8"]
    assert dict(zip(log.item_texts().ids, log.item_texts().texts, strict=True)) == {"7": "Cup", "8": None}


def test_items_file_joins_the_log(tmp_path):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"movieId": [22.0, 7.0, 22.0, 7.0], "title": ["", "Seven", "Catch", "Se7en"]}), path)
    log = read(tmp_path, "user_id;item\n1;22\n1;7\n", delimiter=";", item_column="item")
    # The log's own format and item column do not stand in the way.
    settings = LogSettings(delimiter=";", item_column="item", format="csv", header=False, columns="user_id,item")
    texts = read_items(str(path), ItemsSettings().of(settings))
    assert dict(zip(texts.ids, texts.texts, strict=True)) == {"22": "Catch", "7": "Seven"}
    assert set(log.item_ids().to_pylist()) == set(texts.ids)
    assert texts.conflicting == 1


@pytest.mark.parametrize(
    ("columns", "own", "item"),
    [
        ("id,title", {}, "id"),
        ("title,ID", {}, "ID"),
        ("id:token,title", {}, "id:token"),
        ("id,asin,title", {}, "asin"),
        ("id,asin,sku,title", {}, "sku"),
        ("id,asin,sku:token,title", {}, "sku:token"),
        ("id,sku,title", {"items_item_column": "id"}, "id"),
        ("code,asin,title", {"items_item_column": "code"}, "code"),
        ("uid,id,title", {}, "id"),
    ],
)
@pytest.mark.parametrize("log", ["sku", "sku:token"])
def test_the_item_column_of_an_items_file(tmp_path, columns, own, item, log):
    path = tmp_path / "items.csv"
    names = columns.split(",")
    path.write_text(f"{columns}\n{','.join('7' if name == item else 'x' for name in names)}\n")
    settings = ItemsSettings(**own).of(LogSettings(item_column="sku"))
    assert read_items(str(path), settings, log).ids == ["7"]


def test_an_items_file_alone_may_call_its_ids_id_but_a_log_may_not(tmp_path):
    path = tmp_path / "games.jsonl"
    path.write_text('{"id": 7, "title": "Seven"}\n')
    assert read_items(str(path), LogSettings(), joined=False).ids == ["7"]
    path.write_text('{"id": 7, "user_id": 1, "title": "Seven"}\n')
    with pytest.raises(UsageError, match="looks like the item column") as caught:
        read_items(str(path), LogSettings(), joined=False)
    assert caught.value.hint == "Name it with --item-column."


def test_a_folder_name_makes_no_column(tmp_path):
    folder = tmp_path / "day=1"
    folder.mkdir()
    assert read_table(folder, {"user_id": [1], "item_id": [2]}).column_names == ["user_id", "item_id"]


def test_uuid_ids(tmp_path):
    values = pa.array([b"\x00" * 15 + b"\x01", b"\x00" * 16], pa.binary(16)).cast(pa.uuid())
    log = read_table(tmp_path, {"user_id": values, "item_id": [1, 2]})
    assert log.user_ids().to_pylist()[0] == "00000000-0000-0000-0000-000000000001"


def test_a_log_without_a_header_gives_its_texts_alone(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("1,22,Catch\n1,7,Seven\n")
    settings = LogSettings(header=False, columns="user_id,item_id,title")
    texts = read_items(str(path), settings, joined=False)
    assert dict(zip(texts.ids, texts.texts, strict=True)) == {"22": "Catch", "7": "Seven"}


def test_reviews_are_not_item_texts_when_a_log_is_embedded(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "user_id,item_id,text\n" + "".join(f"{u},{i},review {u} of {i}\n" for u in range(3) for i in range(3))
    )
    assert 'column "text" is not item text' in read_items(str(path), LogSettings(), joined=False).rejected
    assert read_items(str(path), LogSettings(text_column=("text",)), joined=False).rejected is None
