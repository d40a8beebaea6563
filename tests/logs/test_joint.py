"""Parquet files of one log whose writers gave a column several types: one log, and each file back in its own."""

from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from written import write_rows

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, OutputError
from iadsr_cli.logs.nulls import nulls
from iadsr_cli.logs.parted_reader import open_parts
from iadsr_cli.logs.parted_writer import check_writing, writing, writing_folder
from iadsr_cli.logs.reader import read_log
from iadsr_cli.logs.writer import check_rows, drafted_folder
from iadsr_cli.progress import Silent

NOON, LATE = datetime(2024, 1, 2, 12), datetime(2024, 1, 3)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(**columns):
    """Write files a, b ... of which each has its own array of every column."""
    Path("logs").mkdir(exist_ok=True)
    for name, arrays in zip("abc", zip(*columns.values(), strict=True), strict=False):
        pq.write_table(pa.table(dict(zip(columns, arrays, strict=True))), f"logs/{name}.parquet")


def text(*values, type="string"):
    return pa.array(values, type)


def test_a_log_of_two_versions_of_pandas():
    ids, items = (
        [text("u1", "u2"), text("u1", "u3", type="large_string")],
        [pa.array([7, 8]), pa.array([8, None], "double")],
    )
    times = [pa.array([NOON, LATE], "timestamp[ns]"), pa.array([LATE, NOON], "timestamp[us]")]
    make(user_id=ids, item_id=items, time=times)
    settings = LogSettings(null_ids="keep")
    log = read_log("logs", settings)
    assert log.user_ids().to_pylist() == ["u1", "u2", "u1", "u3"]
    assert log.item_ids().to_pylist() == ["7", "8", "8", None]
    order = log.order()
    assert order[0] == order[3] < order[1] == order[2]
    parts = list(open_parts("logs", settings, Silent()).parts())
    assert pa.concat_arrays([part.users for part in parts]).equals(log.user_ids())
    assert pa.concat_arrays([part.items for part in parts]).equals(log.item_ids())
    assert np.concatenate([part.order for part in parts]).tolist() == order.tolist()


CASES = {
    "text": (text("a", None), text("b", type="large_string"), "large_string"),
    "view": (text("a"), text("b", type="string_view"), "large_string"),
    "category": (text("a", "a").dictionary_encode(), text("b"), "string"),
    "null": (pa.nulls(2), pa.array([1.5]), "double"),
    "width": (pa.array([1], "int32"), pa.array([2**40]), "int64"),
    "sign": (pa.array([2**63], "uint64"), pa.array([2]), "uint64"),
    "float": (pa.array([1, 2]), pa.array([None, 0.5]), "double"),
    "wide whole": (pa.array([2**53 + 1]), pa.array([None, 4.0]), "int64"),
    "unit": (pa.array([NOON], "timestamp[s]"), pa.array([LATE], "timestamp[ns]"), "timestamp[ns]"),
    "far": (pa.array([NOON], "timestamp[ns]"), pa.array([datetime(9999, 1, 1)], "timestamp[us]"), "timestamp[us]"),
    "unit between": (
        pa.array([datetime(2024, 1, 1, 0, 0, 0, 5)], "timestamp[ns]"),
        pa.array([datetime(9999, 12, 31), None], "timestamp[ms]"), "timestamp[us]"),
    "zone": (
        pa.array([5000], pa.timestamp("ns", "UTC")), pa.array([253402214400], pa.timestamp("s", "UTC")),
        "timestamp[us, tz=UTC]"),
    "duration": (pa.array([5000], "duration[ns]"), pa.array([10**11], "duration[s]"), "duration[us]"),
    "decimal": (pa.array([Decimal("1.5")]), pa.array([Decimal("20.25")]), "decimal128(4, 2)"),
    "empty lists": (pa.array([[]], pa.list_(pa.null())), pa.array([["a"]]), "list<item: string>"),
    "lists": (pa.array([["a"]]), pa.array([["b"]], pa.list_(pa.large_string())), "list<item: large_string>"),
}  # fmt: skip


def in_memory(keep, extra):
    log = read_log("logs", LogSettings())
    write_rows(log, "one.parquet", keep, extra=extra)
    with drafted_folder(log, "back", keep, extra=extra):
        pass


def in_parts(keep, extra):
    log = open_parts("logs", LogSettings(), Silent())
    types = {name: pa.array(values).type for name, values in extra.items()}
    for open_target, target in ((writing, "one.parquet"), (writing_folder, "back")):
        with open_target(log, target, types, force=False) as write:
            for piece in log.pieces():
                chosen = keep[piece.first : piece.first + piece.records.num_rows]
                before = int(keep[: piece.first].sum())
                added = {name: pa.array(v[before : before + chosen.sum()]) for name, v in extra.items()}
                write(piece, chosen, added)


@pytest.mark.parametrize("write", [in_memory, in_parts])
@pytest.mark.parametrize("case", CASES)
def test_files_come_back_in_their_own_types_and_together_in_one_that_holds_all(case, write):
    one, two, joint = CASES[case]
    ids = [pa.array(range(len(one))), pa.array(range(len(two)))]
    make(user_id=ids, item_id=ids, x=[one, two])
    everything = np.ones(len(one) + len(two), bool)
    write(everything, {"s": np.arange(len(everything))})
    for name, own in (("a", one), ("b", two)):
        there, back = (pq.read_table(f"{folder}/{name}.parquet") for folder in ("logs", "back"))
        assert back.drop_columns("s").equals(there)
        assert back["x"].combine_chunks().type == there["x"].type
        assert back["x"].to_pylist() == own.to_pylist()
    together = pq.read_table("one.parquet")
    assert str(together["x"].type).replace("element", "item") == joint
    assert together["x"].to_pylist() == [*one.to_pylist(), *two.to_pylist()]
    assert len(pd.read_parquet("one.parquet")) == len(everything)


@pytest.mark.parametrize("write", [in_memory, in_parts])
def test_pandas_reads_what_its_versions_and_types_have_become(write):
    Path("logs").mkdir()
    one = pd.DataFrame({"user_id": [1, 2], "item_id": [3, 4], "x": pd.array([1, None], "Int64"), "y": ["a", None]})
    two = pd.DataFrame({"user_id": [1, 2], "item_id": [3, 4], "x": [0.5, None], "y": pd.Categorical(["b", "a"])})
    one["z"] = pd.array([1, None], "Int64")
    for name, frame in (("a", one), ("b", two.assign(z=pd.array([3, 4], "Int64")))):
        frame.to_parquet(f"logs/{name}.parquet")
    write(np.array([True, True, False, True]), {"s": np.arange(3)})
    back = pd.read_parquet("one.parquet")
    assert back["x"].dtype == float
    assert back["x"].fillna(-1).tolist() == [1, -1, -1]
    assert back["y"].fillna("-").tolist() == ["a", "-", "a"]
    assert back["z"].dtype == "Int64"
    assert pd.read_parquet("back/a.parquet")["x"].dtype == "Int64"


@pytest.mark.parametrize("note", [b"none", b'{"columns": 3}', b'{"columns": [{}]}', b"[]"])
def test_notes_that_are_not_of_pandas_stay(note):
    Path("logs").mkdir()
    for name, kind in (("a", "int32"), ("b", "int64")):
        schema = pa.schema([("user_id", kind), ("item_id", "int64")], {"pandas": note})
        pq.write_table(pa.table([[1], [2]], schema), f"logs/{name}.parquet")
    assert read_log("logs", LogSettings()).records.schema.metadata == {b"pandas": note}


@pytest.mark.parametrize("write", [in_memory, in_parts])
def test_columns_that_came_later_and_in_another_order(write):
    rows = [
        {"user_id": [1, 2], "item_id": ["a", "b"]},
        {"coupon": ["c", None, "d"], "item_id": ["b", "c", "d"], "user_id": [2, 3, 4]},
        {"user_id": [5], "item_id": ["e"], "day": [6]},
    ]
    Path("logs").mkdir()
    for name, columns in zip("abc", rows, strict=True):
        schema = [pa.field(key, pa.array(values).type, nullable=key != "day") for key, values in columns.items()]
        pq.write_table(pa.table(columns, pa.schema(schema)), f"logs/{name}.parquet")
    keep = np.array([True, False, True, True, True, True])
    write(keep, {"s": np.arange(5)})
    done = 0
    for name, columns in zip("abc", rows, strict=True):
        kept = keep[done : done + len(columns["user_id"])]
        done += len(kept)
        back = pq.read_table(f"back/{name}.parquet").drop_columns("s")
        assert back.equals(pq.read_table(f"logs/{name}.parquet").filter(pa.array(kept)))
    one = pq.read_table("one.parquet")
    assert one.column_names == ["user_id", "item_id", "coupon", "day", "s"]
    assert one["user_id"].to_pylist() == [1, 2, 3, 4, 5]
    assert one["coupon"].to_pylist() == [None, "c", None, "d", None]
    assert one["day"].to_pylist() == [None, None, None, None, 6]
    parts = open_parts("logs", LogSettings(), Silent())
    days = [records.column("day").to_pylist() for _, records in parts.records(["day"])]
    assert days == [[None, None], [None, None, None], [6]]


PART = pa.struct([pa.field("s", pa.string_view(), nullable=False), pa.field("t", "timestamp[us]")])
REQUIRED = {
    "number": [pa.field("a", "int64", nullable=False)],
    "category": [pa.field("a", pa.dictionary("int8", "string"), nullable=False)],
    "extension": [pa.field("a", pa.uuid(), nullable=False), pa.field("b", pa.bool8())],
    "struct": [pa.field("a", PART, nullable=False), pa.field("b", pa.list_(PART), nullable=False)],
}  # fmt: skip


@pytest.mark.parametrize("case", REQUIRED)
def test_nulls_have_the_parts_that_each_struct_has_to_have(case, monkeypatch):
    monkeypatch.setattr("iadsr_cli.logs.nulls._BLOCK", 2)
    for type in (pa.struct(REQUIRED[case]), pa.list_(pa.struct(REQUIRED[case]))):
        for rows in (0, 1, 2, 5):
            made = nulls(rows, type)
            made.validate(full=True)
            assert (len(made), made.null_count, made.type) == (rows, rows, type)
            pq.write_table(pa.table({"x": made}), "nulls.parquet")
            assert pq.read_table("nulls.parquet")["x"].null_count == rows


@pytest.mark.parametrize("write", [in_memory, in_parts])
def test_a_struct_with_parts_that_have_to_be_there_came_later(write):
    ids = {"user_id": pa.array([1, 2]), "item_id": pa.array([3, 4])}
    device = pa.array([{"a": 5}, None], pa.struct(REQUIRED["number"]))
    Path("logs").mkdir()
    pq.write_table(pa.table(ids), "logs/a.parquet")
    pq.write_table(pa.table({**ids, "device": device}), "logs/b.parquet")
    write(np.array([False, True, True, True]), {"s": np.arange(3)})
    one = pq.read_table("one.parquet")
    assert one["device"].type == device.type
    assert one["device"].to_pylist() == [None, {"a": 5}, None]


@pytest.mark.parametrize("write", [in_memory, in_parts])
def test_dictionaries_in_structs_and_lists_can_be_read_from_what_was_written(write):
    texts = ["x", "y"], ["y", "z"]
    named = [pa.StructArray.from_arrays([text(*each).dictionary_encode()], ["a"]) for each in texts]
    listed = [pa.ListArray.from_arrays(text(0, 1, 2, type="int32"), each.field(0)) for each in named]
    make(user_id=[pa.array([1, 2])] * 2, item_id=[pa.array([3, 4])] * 2, a=named, b=listed)
    write(np.ones(4, bool), {"s": np.arange(4)})
    Path("one.parquet").rename("logs/a.parquet")
    Path("logs/b.parquet").unlink()
    Path("back").rename("before")
    write(np.array([False, True, True, True]), {"t": np.arange(3)})
    for source in ("one.parquet", "back"):
        log = read_log(source, LogSettings())
        assert log.column("a").to_pylist() == [{"a": each} for each in "yyz"]
        assert log.column("b").to_pylist() == [[each] for each in "yyz"]


def test_what_csv_cannot_hold_is_named_by_the_joint_type():
    lists = [pa.array([[1]], pa.list_(pa.int8())), pa.array([[2**40]])]
    make(user_id=[pa.array([1])] * 2, item_id=[pa.array([1])] * 2, x=lists)
    log, parts = read_log("logs", LogSettings()), open_parts("logs", LogSettings(), Silent())
    for check in (lambda: check_rows(log, "out.csv"), lambda: check_writing(parts, "out.csv", {})):
        with pytest.raises(OutputError) as caught:
            check()
        said = 'Column "x" of logs holds list<element: int64> values, which CSV and TSV cannot hold.'
        assert caught.value.message == said


@pytest.mark.parametrize(
    ("one", "two", "wrong"),
    [
        (pa.array([1]), text("a"), 'string values in column "x", logs/a.parquet has int64.'),
        (pa.array([0.5]), pa.array([Decimal("1.5")]),
         'decimal128(2, 1) values in column "x", logs/a.parquet has double.'),
        (pa.array([Decimal("1.5")]), pa.array([1]),
         'int64 values in column "x", logs/a.parquet has decimal128(2, 1).'),
        (pa.array([0.5]), pa.array([2**53 + 1]),
         'int64 values in column "x", logs/a.parquet has double, and no type holds both exactly.'),
        (pa.array([NOON], "timestamp[us]"), pa.array([NOON], pa.timestamp("us", "UTC")),
         'timestamp[us, tz=UTC] values in column "x", logs/a.parquet has timestamp[us].'),
        (pa.array([NOON], "timestamp[us]"), pa.array([NOON.date()]),
         'date32[day] values in column "x", logs/a.parquet has timestamp[us].'),
        (pa.array([5], "timestamp[ns]"), pa.array([datetime(9999, 12, 31)], "timestamp[s]"),
         'timestamp[ms] values in column "x", logs/a.parquet has timestamp[ns], and no type holds both exactly.'),
        (pa.array([True]), pa.array([1]), 'int64 values in column "x", logs/a.parquet has bool.'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("read", [read_log, lambda source, settings: open_parts(source, settings, Silent())])
def test_values_that_no_type_holds(one, two, wrong, read):
    make(user_id=[pa.array([1])] * 2, item_id=[pa.array([1])] * 2, x=[one, two])
    with pytest.raises(InputError) as caught:
        read("logs", LogSettings())
    assert caught.value.message == f"logs/b.parquet has {wrong}"
    assert caught.value.hint.startswith("Files of one log have the same columns: mend the file, or choose files")


def test_the_file_that_no_other_agrees_with_is_named():
    make(user_id=[pa.array([1])] * 3, item_id=[pa.array([1])] * 3, x=[pa.nulls(1), pa.array([2]), text("a")])
    with pytest.raises(InputError) as caught:
        read_log("logs", LogSettings())
    assert caught.value.message == 'logs/c.parquet has string values in column "x", logs/b.parquet has int64.'


TYPES = ["int8", "int32", "int64", "uint8", "uint64", "float", "double", "timestamp[ms]", "timestamp[ns]", "null"]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_values_stay_what_they_are_or_the_log_is_refused(data):
    columns = []
    for _ in range(data.draw(st.integers(2, 3))):
        values = pa.array(data.draw(st.lists(st.one_of(st.none(), st.integers(-300, 2**62)), min_size=1, max_size=3)))
        if data.draw(st.booleans()):
            values = pa.array(
                data.draw(st.lists(st.one_of(st.none(), st.floats(allow_nan=False)), min_size=1)), "double"
            )
        try:
            columns.append(pc.cast(values, data.draw(st.sampled_from(TYPES))))
        except pa.ArrowException:
            assume(False)
    ids = [pa.array(range(len(column))) for column in columns]
    make(user_id=ids, item_id=ids, x=columns)
    for path in Path("logs").glob("*.parquet"):
        if "abc".index(path.stem) >= len(columns):
            path.unlink()
    settings = LogSettings(time_column="none")
    try:
        log = read_log("logs", settings)
    except InputError as error:
        assert ' values in column "x", ' in error.message
        with pytest.raises(InputError):
            open_parts("logs", settings, Silent())
        return
    parts = open_parts("logs", settings, Silent())
    for joint in (log.column("x"), pa.chunked_array([r.column("x").combine_chunks() for _, r in parts.records(["x"])])):
        assert joint.type == log.column("x").type
        done = 0
        for column in columns:
            there = joint.slice(done, len(column))
            done += len(column)
            if not pa.types.is_null(column.type):
                # Arrow takes no whole number beyond 2^24 for a float of 32 bits, though some are.
                assert pc.cast(there, column.type, safe=False).combine_chunks().equals(column)
            assert there.null_count == column.null_count
