"""Which column holds the times where names alone do not tell it: in memory and in parts alike."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import IadsrError, InputError, UsageError
from iadsr_cli.logs import blocks
from iadsr_cli.logs.parted_reader import open_parts
from iadsr_cli.logs.reader import read_log
from iadsr_cli.progress import Silent

DAYS = ["2020-01-02", "2020-01-03", "2020-01-01", "2020-01-04"]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few bytes."""
    monkeypatch.setattr(blocks, "BLOCK", 30)


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def opened(request: pytest.FixtureRequest, tmp_path: Path):
    """Return, of a log with some columns besides its users and items, how it is read; in memory and in parts."""

    def both(columns: dict[str, list], **used: object):
        table = pa.table({"user_id": range(4), "item_id": range(4), **columns})
        path = tmp_path / f"log.{request.param}"
        if request.param == "parquet":
            pq.write_table(table, path)
        elif request.param == "jsonl":
            path.write_text("".join(json.dumps(row, default=str) + "\n" for row in table.to_pylist()))
        else:
            rows = [table.column_names, *(map(str, row.values()) for row in table.to_pylist())]
            path.write_text("".join(",".join(row) + "\n" for row in rows))
        settings = LogSettings(**used)  # type: ignore[arg-type]
        logs, errors = [], []
        for read in (read_log, lambda source, settings: open_parts(source, settings, Silent())):
            try:
                logs.append(read(str(path), settings))
            except IadsrError as error:
                errors.append(error)
        if errors:
            one, other = errors
            assert (type(one), one.message, one.hint) == (type(other), other.message, other.hint)
            raise one
        memory, parts = logs
        assert memory.roles == parts.roles
        assert memory.time_description == parts.time_description
        if memory.order() is not None:
            assert [time for part in parts.parts() for time in part.order.tolist()] == memory.order().tolist()
        return logs

    return both


@pytest.mark.parametrize(
    ("columns", "description"),
    [
        ({"Date": DAYS}, "Date (ISO 8601, "),
        ({"review_date": ["31/01/2020", "01/02/2020", "01/01/2020", "02/02/2020"]}, "review_date (%d/%m/%Y, "),
        ({"time_ms": [1_600_000_000_000 + n for n in range(4)]}, "time_ms (unix milliseconds)"),
        # Of these only one holds times.
        (
            {"date": [20200102, 20200103, 20200101, 20200104], "time_ms": [10**12 + n for n in range(4)]},
            "time_ms (unix",
        ),
        ({"date_added": ["long ago", *DAYS[1:]], "order_date": DAYS}, "order_date (ISO 8601, "),
    ],
)
def test_a_less_usual_name_is_the_times_where_the_values_are(opened, columns, description):
    for log in opened(columns):
        assert log.time_description.startswith(description)


@pytest.mark.parametrize(
    "values",
    [
        [1995, 1996, 1995, 1997],
        [20200102, 20200103, 20200101, 20200104],
        ["13:02", "09:00", "10:00", "23:59"],
        [*DAYS[:3], "soon"],
        [*DAYS[:3], ""],
    ],
)
def test_what_holds_no_times_is_no_time_column_by_a_less_usual_name(opened, values):
    for log in opened({"date": values}):
        assert (log.roles.time, log.time_description) == (None, None)


def test_several_columns_with_less_usual_names_are_named(opened):
    with pytest.raises(UsageError) as caught:
        opened({"order_date": DAYS, "date": DAYS, "time_ms": [1, 2, 3, 4]})
    assert caught.value.message.endswith('could be the time column: "date", "order_date".')
    assert caught.value.hint == "Choose with --time-column date (or none, to use file order)."
    memory, _ = opened({"order_date": DAYS, "date": DAYS}, time_column="order_date")
    assert memory.roles.time == "order_date"


def test_a_less_usual_name_gives_way(opened):
    for used, columns in (
        ({"time_column": "none"}, {"date": DAYS}),
        ({"item_column": "date"}, {"date": DAYS}),
    ):
        memory, _ = opened(columns, **used)
        assert memory.roles.time is None
    memory, _ = opened({"date": DAYS, "ts": [4, 3, 2, 1]})
    assert memory.roles.time == "ts"
    # What is said of numbers makes times of them.
    memory, _ = opened({"date": [4, 3, 2, 1]}, time_unit="s")
    assert memory.time_description == "date (unix seconds)"


@pytest.mark.parametrize("values", [["13:02:01", "09:00:00", "10:00:00", "23:59:00"], [*DAYS[:3], ""]])
def test_of_times_that_cannot_be_read_the_error_names_a_column_that_can(opened, values):
    with pytest.raises(InputError) as caught:
        opened({"time": values, "date": DAYS})
    assert 'in column "time"' in caught.value.message
    assert caught.value.hint.startswith("Pass --time-column date, which can be read as times. Otherwise: ")
    assert caught.value.hint.endswith(("for file order.", "in file order."))
    for columns, used in (({"date": [1, 2, 3, 4]}, {}), ({"date": DAYS}, {"time_column": "time"})):
        with pytest.raises(InputError) as caught:
            opened({"time": values, **columns}, **used)
        assert "--time-column date" not in caught.value.hint


def test_times_of_day_as_numbers_are_no_order_beside_dates(opened):
    columns = {"time": [1302, 959, 1745, 0], "date": DAYS}
    with pytest.raises(UsageError) as caught:
        opened(columns)
    assert caught.value.message.endswith('could be the time column: "date", "time".')
    assert caught.value.hint == "Choose with --time-column date (or none, to use file order)."
    for column, used in (
        ("time (order)", {"time_column": "time"}),
        ("date (ISO", {"time_column": "date"}),
        ("time (unix seconds)", {"time_unit": "s"}),
    ):
        memory, _ = opened(columns, **used)
        assert memory.time_description.startswith(column)
    for others in ({"time": [1302, 959, 1745, 0]}, {**columns, "date": [1995] * 4}):
        memory, _ = opened(others)
        assert memory.time_description == "time (order)"


def test_sessions_are_told_by_a_column_with_a_less_usual_name(opened):
    memory, _ = opened({"date": DAYS, "user_id": [1, 1, 1, 1]}, session_gap="20h")
    assert memory.user_ids().to_pylist() == ["1#2", "1#3", "1#1", "1#4"]
    with pytest.raises(UsageError, match="--session-gap needs times"):
        opened({"date": [1, 2, 3, 4]}, session_gap="20h")


@pytest.mark.parametrize(
    ("columns", "likely"),
    [
        ({"date_day": [1, 2, 3, 4], "date_month": [1, 1, 2, 2], "date_hour": [9, 9, 8, 7]}, None),
        ({"TRANS_TIME": [1302, 959, 1745, 0]}, None),
        ({"timezoneOffset": [0, 3600, 7200, 0], "watching_times": [1, 1, 2, 7]}, None),
        (
            {"timeframe": ["2019", "2020", "soon", "late"], "time_of_day": ["13:02:01", "09:00:00", "", "10:00:00"]},
            None,
        ),
        ({"Crawl_Date": DAYS, "birthdate": DAYS, "release_date": DAYS, "publishTime": DAYS}, None),
        ({"seen_date": DAYS[:1] * 4}, None),
        ({"Crawl_Date": DAYS, "update": ["no", "yes", "no", "no"], "seen_date": DAYS}, "seen_date"),
        ({"rated time": [1_500_000_000 + n for n in range(4)], "seen_date": DAYS}, "rated time"),
        ({"date": [1995, 1996, 1995, 1997]}, None),
    ],
)
def test_only_what_seems_to_hold_times_is_offered(opened, monkeypatch, columns, likely):
    monkeypatch.setattr(blocks, "BLOCK", 1 << 20)
    for log in opened(columns):
        assert log.roles.time is None
        assert log.likely_time() == likely


def test_what_is_offered_is_told_by_rows_all_over_the_log(tmp_path):
    rows = "".join(f"{n},1,2020-01-0{1 + n // 1500}\n" for n in range(3000))
    (tmp_path / "log.csv").write_text("user_id,item_id,seen date\n" + rows)
    assert read_log(str(tmp_path / "log.csv"), LogSettings()).likely_time() == "seen date"


@pytest.mark.parametrize("type", [pa.decimal64(18, 0), pa.binary_view(), pa.string_view()], ids=str)
def test_times_of_any_type_are_offered(tmp_path, type):
    times = [str(1_500_000_000 + n) for n in range(3000)]
    values = [Decimal(time) for time in times] if pa.types.is_decimal(type) else pa.array(times).cast(type)
    table = pa.table({"user_id": range(3000), "item_id": range(3000), "seen date": pa.array(values, type)})
    pq.write_table(table, path := tmp_path / "log.parquet")
    assert read_log(str(path), LogSettings()).likely_time() == "seen date"


def test_types_of_parquet(tmp_path):
    path = tmp_path / "log.parquet"
    columns = {"user_id": range(4), "item_id": range(4)}
    pq.write_table(pa.table({**columns, "date": [date.fromisoformat(day) for day in DAYS]}), path)
    assert open_parts(str(path), LogSettings(), Silent()).time_description == "date (dates)"
    assert read_log(str(path), LogSettings()).time_description == "date (dates)"
    # Parts would put them in an order each of its own.
    pq.write_table(pa.table({**columns, "date": [Decimal(f"15000000{n}0.5") for n in range(4)]}), path)
    with pytest.raises(InputError, match="cannot be put in order in parts"):
        open_parts(str(path), LogSettings(), Silent())
