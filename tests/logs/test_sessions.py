"""Sessions: what a user does without a long pause."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.reader import read_log
from iadsr_cli.logs.sessions import session_numbers

START = datetime(2024, 1, 31, 12, tzinfo=UTC)
# Minutes after the start, of two users, out of order; c has no time apart.
ROWS = [("a", 0), ("b", 5), ("a", 100), ("a", 29), ("b", 36), ("a", 130), ("b", 4)]
WANTED = ["a#1", "b#1", "a#2", "a#1", "b#2", "a#2", "b#1"]


def written(path: Path, value: Callable[[datetime], object]) -> str:
    times = [value(START + timedelta(minutes=minutes)) for _, minutes in ROWS]
    users = [user for user, _ in ROWS]
    pq.write_table(pa.table({"user": users, "item": [f"i{n}" for n in range(len(ROWS))], "time": times}), path)
    return str(path)


@pytest.mark.parametrize(
    "value",
    [
        lambda time: time,
        lambda time: int(time.timestamp()),
        lambda time: time.timestamp() + 0.25,
        lambda time: int(time.timestamp() * 1000),
        lambda time: int(time.timestamp()) * 10**9,
        lambda time: str(int(time.timestamp())),
        lambda time: time.isoformat(),
    ],
)
def test_a_pause_ends_a_session_whatever_the_times_look_like(
    tmp_path: Path, value: Callable[[datetime], object]
) -> None:
    log = read_log(written(tmp_path / "log.parquet", value), LogSettings(session_gap="30m"))
    assert log.user_ids().to_pylist() == WANTED
    whole = read_log(written(tmp_path / "log.parquet", value), LogSettings(session_gap="1d"))
    assert whole.user_ids().to_pylist() == [f"{user}#1" for user, _ in ROWS]


def test_rows_without_a_user_have_no_session(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,time\na,1,1700000000\n,2,1700000001\na,3,1700009000\n")
    log = read_log(str(tmp_path / "log.csv"), LogSettings(session_gap="2h", null_ids="keep"))
    assert log.user_ids().to_pylist() == ["a#1", None, "a#2"]


def test_rows_without_a_time_are_in_the_first_session(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,time\na,1,1700009000\na,2,\na,3,1700000000\nb,3,\nb,4,1700000000\n")
    log = read_log(str(tmp_path / "log.csv"), LogSettings(session_gap="2h", null_times="keep"))
    assert log.user_ids().to_pylist() == ["a#2", "a#1", "a#1", "b#1", "b#1"]
    assert log.item_ids().to_pylist() == ["1", None, "3", None, "4"]


@pytest.mark.parametrize("pause", ["", "30", "0s", "m", "-5m", "1w", "1 h 5"])
def test_what_is_no_pause_is_said(pause: str) -> None:
    with pytest.raises(UsageError) as caught:
        LogSettings(session_gap=pause)
    assert caught.value.message == f'--session-gap cannot be "{pause}".'
    assert "90s, 30m, 2h or 1d" in caught.value.hint


def test_sessions_need_times_of_a_known_unit(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("user,item\na,1\n")
    with pytest.raises(UsageError, match="--session-gap needs times, and no column of"):
        read_log(str(tmp_path / "none.csv"), LogSettings(session_gap="30m"))
    # Digits of dates are no numbers of milliseconds.
    for times in ((20240131090000, 20240131150000), (5, 5000)):
        rows = "".join(f"a,{item},{time}\n" for item, time in enumerate(times))
        (tmp_path / "order.csv").write_text(f"user,item,time\n{rows}")
        with pytest.raises(InputError, match=r"needs times in a known unit, and .* no dates of 1980 to 2099") as caught:
            read_log(str(tmp_path / "order.csv"), LogSettings(session_gap="30m"))
        assert "--time-unit" in caught.value.hint
    log = read_log(str(tmp_path / "order.csv"), LogSettings(session_gap="30m", time_unit="s"))
    assert log.user_ids().to_pylist() == ["a#1", "a#2"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), max_size=30), st.integers(1, 20))
def test_sessions_are_those_of_a_plain_loop(rows: list[tuple[int, int]], gap: int) -> None:
    users, times = (np.array([row[place] for row in rows], dtype=np.int64) for place in (0, 1))
    wanted = np.zeros(len(rows), dtype=np.int64)
    for user in set(users.tolist()):
        number, last = 1, None
        for place in sorted(np.flatnonzero(users == user).tolist(), key=lambda each: (times[each], each)):
            number += last is not None and times[place] - last > gap
            wanted[place], last = number, times[place]
    assert session_numbers(users, times, times.astype(float), gap).tolist() == wanted.tolist()
