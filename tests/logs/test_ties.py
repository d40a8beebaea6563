"""Rows that have the same time, or none, in files that are sorted by item and in others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from iadsr_cli.config import LogSettings, ProtectionSettings
from iadsr_cli.logs.parted_reader import open_parts
from iadsr_cli.logs.reader import read_log
from iadsr_cli.logs.ties import Ties, shuffled
from iadsr_cli.parted import buckets
from iadsr_cli.progress import Silent
from iadsr_cli.sequences import make_sequences

USERS, ITEMS, LENGTH = 40, 60, 8
Row = tuple[str, str, int]


def rows_of(day: Callable[[int, int], int] = lambda user, place: place) -> list[Row]:
    """Return rows of users with random items in random order, each with the day of its place in the history."""
    generator = np.random.default_rng(0)
    return [
        (f"u{user}", str(item), day(user, place))
        for user in range(USERS)
        for place, item in enumerate(generator.choice(ITEMS, LENGTH, replace=False).tolist())
    ]


def written(path: Path, rows: list[Row], timed: bool = True) -> str:
    lines = [",".join(map(str, row[: 2 + timed])) for row in rows]
    path.write_text("\n".join(["user,item" + ",time" * timed, *lines]) + "\n")
    return str(path)


def tied(path: Path, rows: list[Row], timed: bool = True) -> float:
    return read_log(written(path, rows, timed), LogSettings()).ties.part


SORTS: dict[str, Callable[[Row], object]] = {
    "by user and number": lambda row: (row[0], int(row[1])),
    "by user and text": lambda row: (row[0], row[1]),
    "by user, numbers falling": lambda row: (row[0], -int(row[1])),
    "by item": lambda row: (int(row[1]), row[0]),
    # In an order that ids do not tell: all rows of one item, and then all of the next.
    "item by item": lambda row: (int(row[1]) * 37 % ITEMS, row[0]),
}


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("timed", [False, True])
def test_a_log_without_order_that_is_sorted_by_item_is_seen(sort: str, timed: bool, tmp_path: Path) -> None:
    rows = sorted(rows_of(lambda user, place: 7), key=SORTS[sort])
    assert tied(tmp_path / "log.csv", rows, timed) == 1


def test_other_orders_count(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = rows_of()
    assert tied(path, rows, timed=False) == 0
    # As logs are written, over time: most items then follow what appeared before them.
    assert tied(path, sorted(rows, key=lambda row: row[2]), timed=False) == 0
    # Where times tell all, it does not matter how the file is sorted.
    assert tied(path, sorted(rows, key=SORTS["by item"])) == 0
    # Items that one user has each appear in order, whatever that is.
    own = [(user, f"{int(item) * 37 % ITEMS}-{user}", day) for user, item, day in rows]
    assert tied(path, own, timed=False) == 0


@pytest.mark.parametrize("name", ["{}", "{:03}", "episode {:03}"])
def test_who_follows_a_series_is_believed(name: str, tmp_path: Path) -> None:
    starts = np.random.default_rng(0).integers(ITEMS - LENGTH - 1, size=USERS).tolist()
    rows = [
        (f"u{user}", name.format(start + 2 * (place > 3) + place), place)
        for user, start in enumerate(starts)
        for place in range(LENGTH)
    ]
    assert tied(tmp_path / "log.csv", rows, timed=False) == 0


def test_rows_of_the_same_day_are_looked_at_alone(tmp_path: Path) -> None:
    rows = sorted(rows_of(lambda user, place: place // 4), key=lambda row: (row[0], row[2], int(row[1])))
    log = read_log(written(tmp_path / "log.csv", rows), LogSettings())
    assert log.ties.part == pytest.approx(6 / 7) and not log.ties.of_items
    sequences = make_sequences(log.user_ids(), log.item_ids(), log.order())
    days = np.array([row[2] for row in rows])[sequences.row_ids].reshape(USERS, LENGTH)
    assert (np.diff(days, axis=1) >= 0).all()
    numbers = np.array([int(row[1]) for row in rows])[sequences.row_ids].reshape(USERS, LENGTH)
    assert 0.3 < (np.diff(numbers, axis=1)[np.diff(days, axis=1) == 0] > 0).mean() < 0.7


def test_few_pairs_say_nothing() -> None:
    # A second user has those between, so that no pair is of an item and the next.
    items = pa.array([*(f"{2 * number:03}" for number in range(51)), *(f"{2 * number + 1:03}" for number in range(51))])
    users = pa.array(["a"] * 51 + [f"b{number}" for number in range(51)])
    assert not Ties.found(users[1:], items[1:], None, False)
    assert Ties.found(users, items, None, False) == Ties(1)


def test_rows_without_ids_are_passed_over() -> None:
    # A third user has the items between, so that no pair is of an item and the next.
    both = [f"{2 * number:03}" for number in range(40)]
    between = [f"{2 * number + 1:03}" for number in range(39)]
    owners = ["a"] * 40 + [None] * 150 + ["b"] * 40 + [f"c{number}" for number in range(39)]
    ids: list[str | None] = [*both, *(["000"] * 150), *both, *between]
    ids[:230:10] = [None] * 23
    assert Ties.found(pa.array(owners), pa.array(ids), None, False) == Ties(1)


def test_ties_are_broken_by_the_rows_number_alone() -> None:
    rows = np.arange(1000)
    order = rows // 10 % 7
    whole = shuffled(order, rows)
    assert (np.diff(order[np.argsort(whole)]) >= 0).all()
    some = np.flatnonzero(np.random.default_rng(0).random(1000) < 0.3)
    assert np.array_equal(np.argsort(shuffled(order[some], rows[some])), np.argsort(whole[some]))
    alone = shuffled(None, rows)
    assert len(np.unique(alone)) == 1000
    assert np.array_equal(shuffled(None, rows[some]), alone[some])
    assert abs(np.corrcoef(np.argsort(alone), rows)[0, 1]) < 0.1


def released(item: int) -> int:
    """Return the day on which an item came out."""
    return item * 37 % ITEMS


@pytest.mark.parametrize("column", ["user,item", "user,item,time", "user,item,date"])
def test_in_parts_the_order_is_that_of_memory(column: str, tmp_path: Path) -> None:
    dated = column.endswith("date")
    rows = [
        (user, item, f"2024-02-{1 + released(int(item)) % 28:02}") if dated else (user, item, day)
        for user, item, day in sorted(rows_of(lambda user, place: place // 4), key=SORTS["by item"])
    ]
    path = tmp_path / "log.csv"
    path.write_text("\n".join([column, *(",".join(map(str, row[: column.count(",") + 1])) for row in rows)]) + "\n")
    log = read_log(str(path), LogSettings())
    wanted = make_sequences(log.user_ids(), log.item_ids(), log.order())
    parted = open_parts(str(path), replace(LogSettings()), Silent())
    manifest = buckets.split(parted, ProtectionSettings(), 1, {}, tmp_path / "buckets", Silent())
    ties = Ties(**manifest.facts["ties"])
    assert ties and ties == log.ties and ties.of_items == dated
    split = buckets.Split(tmp_path / "buckets", "log", 1, None, ties)
    found = split.bucket(0).sequences(split.items)
    assert np.array_equal(found.row_ids, wanted.row_ids)


def test_times_of_items_are_seen(tmp_path: Path) -> None:
    rows = [(user, item, released(int(item))) for user, item, _ in rows_of()]
    log = read_log(written(tmp_path / "log.csv", rows), LogSettings())
    assert log.ties == Ties(1, of_items=True)
    sequences = make_sequences(log.user_ids(), log.item_ids(), log.order())
    days = np.array([row[2] for row in rows])[sequences.row_ids].reshape(USERS, LENGTH)
    assert 0.4 < (np.diff(days, axis=1) > 0).mean() < 0.6
    # A few rows may be of another edition.
    rows[200::60] = [(user, item, 70) for user, item, _ in rows[200::60]]
    assert tied(tmp_path / "log.csv", rows) == 1
    rows[2::20] = [(user, item, 70) for user, item, _ in rows[2::20]]
    assert tied(tmp_path / "log.csv", rows) == 0


def test_other_times_count(tmp_path: Path) -> None:
    source = written(tmp_path / "log.csv", [(user, item, released(int(item))) for user, item, _ in rows_of()])
    named = read_log(source, LogSettings(time_column="time"))
    assert not named.ties, "somebody has said what they are"
    own = [(user, f"{item}-{user}", day) for user, item, day in rows_of()]
    assert tied(tmp_path / "log.csv", own) == 0, "of items that one user has each nothing is known"
    twice = [row for row in own for _ in range(2)]
    assert tied(tmp_path / "log.csv", twice) == 0, "nor where that user has them twice at once"
    one_day = rows_of(lambda user, place: 7 + (user == place == 0))
    assert not read_log(written(tmp_path / "log.csv", one_day), LogSettings()).ties.of_items


class Heard(Silent):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_what_is_said() -> None:
    heard = Heard()
    Ties().tell("day", heard)
    assert not heard.notes + heard.warnings
    Ties(0.16).tell("day", heard)
    assert heard.notes == [
        "Rows of a user stand in the order of their items, which does not say when they happened: the 16% of them that "
        "have the time of the one before are taken in random order."
    ]
    assert not heard.warnings
    Ties(1).tell(None, heard)
    Ties(1, of_items=True).tell("the day", heard)
    assert heard.warnings == [
        "Rows of a user stand in the order of their items, which does not say when they happened: they are taken in "
        "random order. If a column says when, name it with --time-column.",
        'Column "the day" has one time for all rows of an item, such as when that came out, which does not say when a '
        "user had it: rows of a user are taken in random order. If another column says when, or this one does, name it "
        "with --time-column, as in --time-column 'the day'.",
    ]
