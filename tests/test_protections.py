"""Which rows stay by the user's wish: the last ones, those that a condition holds for, and other events."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from iadsr_cli.config import LogSettings, ProtectionSettings
from iadsr_cli.errors import UsageError
from iadsr_cli.logs.reader import Log, read_log
from iadsr_cli.progress import Silent
from iadsr_cli.protections import Protections, find_protections
from iadsr_cli.sequences import make_sequences

# Rows of one user lie apart and out of order; u has a tie at 3, and a last row without an item.
CSV = """user_id,item_id,ts,event
u,i1,3,view
v,i1,1,buy
u,i2,1,view
u,i3,3,
v,i2,0,view
u,,9,cart
w,i1,5,view
"""


@pytest.fixture
def log(tmp_path: Path) -> Log:
    path = tmp_path / "log.csv"
    path.write_text(CSV, encoding="utf-8")
    return read_log(str(path), LogSettings(null_ids="keep"))


def found(log: Log, **wishes: object) -> Protections:
    sequences = make_sequences(log.user_ids(), log.item_ids(), log.order())
    return find_protections(log, sequences, ProtectionSettings(**wishes), Silent())  # type: ignore[arg-type]


def test_without_a_wish_every_row_may_be_judged_and_go(log: Log) -> None:
    protections = found(log)
    assert protections.names == ()
    assert not protections.protected.any()
    assert protections.judged.all()


@pytest.mark.parametrize(("last", "rows"), [(1, [1, 3, 6]), (2, [0, 1, 3, 4, 6]), (3, [0, 1, 2, 3, 4, 6])])
def test_the_last_interactions_by_time_and_then_by_row(log: Log, last: int, rows: list[int]) -> None:
    protections = found(log, protect_last=last)
    assert np.flatnonzero(protections.protected).tolist() == rows
    assert protections.names == (f"--protect-last {last}",)


def test_the_last_interactions_in_file_order(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id\na,1\nb,1\na,2\nb,2\n", encoding="utf-8")
    assert np.flatnonzero(found(read_log(str(path), LogSettings()), protect_last=1).protected).tolist() == [2, 3]


def test_a_row_is_protected_by_the_first_wish_that_it_falls_under(log: Log) -> None:
    protections = found(log, protect_last=1, protect='event == "view"')
    assert protections.names == ("--protect-last 1", "--protect 'event == \"view\"'")
    assert protections.by.tolist() == [1, 0, 1, 0, 1, -1, 0]


@pytest.mark.parametrize(("events", "judged"), [("view", [0, 2, 4, 6]), ("buy, view", [0, 1, 2, 4, 6]), ("cart", [5])])
def test_rows_with_other_events_or_none_are_not_judged(log: Log, events: str, judged: list[int]) -> None:
    protections = found(log, event_column="event", events=events)
    assert np.flatnonzero(protections.judged).tolist() == judged
    assert not protections.protected.any()


def test_events_may_be_numbers(tmp_path: Path) -> None:
    columns = {"user_id": ["u", "u", "u"], "item_id": ["i", "j", "k"], "kind": pa.array([1, 2, None])}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    log = read_log(str(tmp_path / "log.parquet"), LogSettings())
    assert found(log, event_column="kind", events="2").judged.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("wishes", "error", "hint"),
    [
        (
            {"event_column": "event"},
            "--event-column event was given without the events that may be removed.",
            'Name some with --events; "event" holds "view" (4 rows), "buy" (1 row), "cart" (1 row).',
        ),
        (
            {"event_column": "event", "events": "view,by"},
            '--events names "by", which column "event" of',
            'Name others, separated by commas; "event" holds "view" (4 rows), "buy" (1 row), "cart" (1 row).',
        ),
        ({"event_column": "event", "events": "view,"}, '--events names "", which', "Name others"),
        ({"event_column": "evnt", "events": "view"}, 'Column "evnt" not found in', 'Candidates: "event".'),
        ({"protect": "evnt == 1"}, 'Column "evnt" not found in', 'Candidates: "event".'),
        ({"protect": "event =="}, "--protect cannot be 'event ==': invalid syntax at character 9.", "Write it as in"),
    ],
)
def test_wishes_that_cannot_be_met(log: Log, wishes: dict[str, str], error: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        found(log, **wishes)
    assert error in caught.value.message
    assert hint in caught.value.hint


def test_many_events_are_not_all_listed(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,kind\n" + "".join(f"u,i,k{row}\n" for row in range(13)), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        found(read_log(str(path), LogSettings()), event_column="kind")
    assert caught.value.hint.endswith('"k9" (1 row) and 3 more.')


def test_wishes_are_checked_before_a_log_is_read() -> None:
    with pytest.raises(UsageError, match="--events view was given without the column") as caught:
        ProtectionSettings(events="view")
    assert caught.value.hint == "Name it with --event-column."
    with pytest.raises(UsageError, match='--max-removed cannot be "many"'):
        ProtectionSettings(max_removed="many")
    with pytest.raises(UsageError, match="--protect-last is -1"):
        ProtectionSettings(protect_last=-1)
