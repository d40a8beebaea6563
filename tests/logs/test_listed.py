"""Lists of items that stand where an item should are warned of, and names of several words are not."""

import json
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from iadsr_cli.config import LogSettings
from iadsr_cli.logs import blocks, listed
from iadsr_cli.logs.listed import warning_of_histories, warning_of_lists
from iadsr_cli.logs.parted_reader import open_parts
from iadsr_cli.logs.reader import read_log
from iadsr_cli.logs.schema import Roles
from iadsr_cli.progress import Silent

RANDOM = Random(5)
HISTORIES = [[f"N{RANDOM.randint(1, 60) * 977}" for _ in range(RANDOM.randint(1, 30))] for _ in range(200)]
ASINS = [f"B00{RANDOM.randint(10, 99)}X{RANDOM.randint(1000, 9999)}" for _ in range(40)]
GAMES = [
    *(
        "Dota 2",
        "The Elder Scrolls V Skyrim",
        "Half-Life 2",
        "Half-Life 2 Episode One",
        "Left 4 Dead 2",
        "Team Fortress 2",
    ),
    *(
        "Counter-Strike",
        "Call of Duty Black Ops II - Multiplayer",
        "7 Days to Die",
        "Portal 2",
        "Warhammer 40,000 Dawn of War",
    ),
]


@pytest.mark.parametrize(
    "ids",
    [
        [" ".join(history) for history in HISTORIES],
        ["|".join(history) for history in HISTORIES],
        [", ".join(history) for history in HISTORIES],
        [json.dumps(history) for history in HISTORIES],
        [str(history) for history in HISTORIES],
        [" ".join(RANDOM.sample(ASINS, RANDOM.randint(2, 9))) for _ in range(100)],
        [" ".join(str(RANDOM.randint(1, 50)) for _ in range(RANDOM.randint(1, 20))) for _ in range(100)],
    ],
)
def test_lists_of_items(ids: list[str]) -> None:
    warning = warning_of_lists("history", pa.array([*ids, None], pa.large_string()))
    assert warning is not None
    example = next(each for each in ids if len(each) > 15)[:15]
    assert warning.startswith(f'Column "history" seems to hold lists of items, such as "{example}')
    assert "one row per interaction" in warning


@pytest.mark.parametrize(
    "ids",
    [
        [],
        ["1", "22", "B00X4WHP5E", "f1b1cf71-bd35-4e99-8624-24a6e15f133a"],
        GAMES,
        ["Smith, John", "Smith, Anna", "Miller, John", "Smith, John, Jr."],
        ["Lock, Stock and Two Smoking Barrels", "2001: A Space Odyssey", "12 Angry Men", "10,000 BC", "8 1/2", "1984"],
        ["Home|Kitchen|Pans", "Home|Kitchen", "Home|Garden|Tools|Saws"],
        [f"{shop} {article}" for shop in range(9) for article in range(30)],  # an article of a shop
        [f"2024-01-{day:02} {hour:02}:00:00" for day in range(1, 9) for hour in range(20)],
        # Nothing comes again.
        [f"{n} {n + 5000}" + (f" {n + 9000}" if n % 2 else "") for n in range(100)],
        [*(" ".join(history) for history in HISTORIES[:50]), *(str(n) for n in range(100))],
    ],
)
def test_what_is_no_list(ids: list[str]) -> None:
    assert warning_of_lists("item_id", pa.array(ids, pa.large_string())) is None


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_lists_are_warned_of_in_memory_and_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 300)
    monkeypatch.setattr(listed, "_LOOKED_AT", 150)
    rows = [{"user_id": f"u{n}", "history": " ".join(history)} for n, history in enumerate(HISTORIES)]
    source = tmp_path / f"behaviours.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), source, row_group_size=40)
    elif kind == "csv":
        source.write_text("user_id,history\n" + "".join(f"{row['user_id']},{row['history']}\n" for row in rows))
    else:
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    used = LogSettings(item_column="history")
    memory = list(read_log(str(source), used).warnings)
    assert len(memory) == 1
    assert open_parts(str(source), used, Silent()).warnings() == memory


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_lists_of_what_was_before_are_warned_of_in_memory_and_in_parts(tmp_path: Path, kind: str) -> None:
    # As Amazon's reviews of 2023 have it.
    rows = [
        {"user_id": "a", "parent_asin": "B01", "history": ""},
        {"user_id": "a", "parent_asin": "B02", "history": "B01"},
    ]
    source = tmp_path / f"train.{kind}"
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, source) if kind == "parquet" else csv.write_csv(table, source)
    told = (
        'Column "history" seems to list what the user had before each row. Rows come back as they were: items of rows '
        "that go stay listed there. Make it anew from the cleaned log before training on it."
    )
    assert list(read_log(str(source), LogSettings()).warnings) == [told]
    assert open_parts(str(source), LogSettings(), Silent()).warnings() == [told]
    # Where it is the text, it is of that.
    assert not read_log(str(source), LogSettings(text_column=("history",))).warnings


def test_several_lists_are_named_together() -> None:
    columns = ["user_id", "item_id", "item_id_list:token_seq", "Hist", "historian"]
    told = warning_of_histories(columns, Roles("user_id", "item_id", None, ()))
    assert told is not None and told.startswith('Columns "Hist", "item_id_list:token_seq" seem to list what')
    assert warning_of_histories(columns[:2], Roles("user_id", "item_id", None, ())) is None
