"""Output appears whole or not at all, where it was asked for, in the format that was asked for."""

import gzip
import io
import json
import math
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written import write_rows

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import IadsrError, OutputError, UsageError
from iadsr_cli.logs import writer
from iadsr_cli.logs.reader import read_log
from iadsr_cli.logs.writer import check_extra_names, check_target, replacing

CSV = "user_id,item_id,rating,code,flag,note\n1,10,4.0,007,true,a\n2,20,1.5,12,false,\n3,30,,9,true,c\n"
ALL = np.ones(3, bool)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(CSV)
    return read_log(str(path), LogSettings())


def table_log(tmp_path, columns):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(columns), path)
    return read_log(str(path), LogSettings())


def test_target_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    cases = {
        tmp_path / "file": "exists already.",
        tmp_path: "is a folder.",
        tmp_path / "none" / "out.csv": "none does not exist.",
        tmp_path / "file" / "out.csv": "file is a file, not a folder.",
    }
    cases[tmp_path / ("x" * 300)] = "File name too long."
    for target, message in cases.items():
        with pytest.raises(OutputError) as caught:
            check_target(str(target), force=False)
        assert caught.value.message.endswith(message)
        assert caught.value.hint
    check_target(str(tmp_path / "file"), force=True)
    check_target(str(tmp_path / "new.csv"), force=False)
    check_target("-", force=False)
    check_target(os.devnull, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_folder_that_refuses(tmp_path, monkeypatch):
    def refuse(self, exist_ok):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(writer.Path, "touch", refuse)
    with pytest.raises(OutputError, match=r"out.csv cannot be written: Permission denied\."):
        check_target(str(tmp_path / "out.csv"), force=False)


def test_existing_output_stays_without_force(log, tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("before")
    with pytest.raises(OutputError, match="exists already"):
        write_rows(log, str(target), ALL)
    assert target.read_text() == "before"
    write_rows(log, str(target), ALL, force=True)
    assert target.read_text() == CSV


def test_an_output_that_appears_meanwhile_stays_without_force(log, tmp_path):
    target = tmp_path / "out.csv"
    with pytest.raises(OutputError, match=r"out\.csv exists already"), writer.drafted_rows(log, str(target), ALL):
        target.write_text("theirs")
    assert target.read_text() == "theirs"
    target.unlink()
    with writer.drafted_rows(log, str(target), ALL, force=True):
        target.write_text("theirs")
    assert target.read_text() == CSV
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "out.csv"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_failure_leaves_what_was_there(log, tmp_path, monkeypatch, error):
    target = tmp_path / "out.csv"
    target.write_text("before")

    def fail(descriptor):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write_rows(log, str(target), ALL, force=True)
    if expected is OutputError:
        assert "could not be written: No space left on device" in caught.value.message
    assert target.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "out.csv"]


def test_permissions_are_a_new_files_and_an_old_ones_stay(log, tmp_path):
    target = tmp_path / "out.csv"
    before = os.umask(0o027)
    try:
        write_rows(log, str(target), ALL)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    target.chmod(0o600)
    write_rows(log, str(target), ALL, force=True)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_link_keeps_pointing(log, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "out.csv").touch()
    (tmp_path / "out.csv").symlink_to(tmp_path / "real" / "out.csv")
    write_rows(log, str(tmp_path / "out.csv"), ALL, force=True)
    assert (tmp_path / "out.csv").is_symlink()
    assert (tmp_path / "real" / "out.csv").read_text() == CSV


def test_a_device_is_written_not_replaced(log):
    write_rows(log, os.devnull, ALL)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_in_place(log):
    write_rows(log, log.name, np.array([0, 2]), force=True)
    assert read_log(log.name, LogSettings()).user_ids().to_pylist() == ["1", "3"]


@pytest.mark.parametrize("name", ["out.csv.gz", "out.csv.zst", "out.parquet", "out.jsonl.gz"])
def test_same_rows_same_bytes(log, tmp_path, name):
    (tmp_path / "x").mkdir()
    targets = [tmp_path / name, tmp_path / "x" / ("other-" + name)]
    for target in targets:
        write_rows(log, str(target), ALL, extra={"noise_score": np.array([0.5, 0.25, 1])})
    assert targets[0].read_bytes() == targets[1].read_bytes()


def test_gzip_header_has_no_time_and_no_name(log, tmp_path):
    write_rows(log, str(tmp_path / "out.csv.gz"), ALL)
    header = (tmp_path / "out.csv.gz").read_bytes()[:8]
    assert header == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"


def test_standard_output(log, monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    write_rows(log, "-", np.array([1]))
    assert out.getvalue().decode() == CSV.splitlines(True)[0] + CSV.splitlines(True)[2]
    write_rows(log, "-", np.array([1]), format_override="jsonl")
    assert json.loads(out.getvalue().splitlines()[-1])["code"] == "12"
    start = len(out.getvalue())
    write_rows(log, "-", ALL, format_override="parquet")
    assert pq.read_table(io.BytesIO(out.getvalue()[start:])).num_rows == 3


def test_a_gzip_log_goes_to_standard_output_as_gzip(log, tmp_path, monkeypatch):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode()))
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    write_rows(read_log(str(path), LogSettings()), "-", ALL)
    assert gzip.decompress(out.getvalue()).decode() == CSV


def test_target_formats(log, tmp_path):
    with pytest.raises(UsageError, match="cannot be told from its name"):
        write_rows(log, str(tmp_path / "out.dat"), ALL)
    write_rows(log, str(tmp_path / "out.dat"), ALL, format_override="tsv")
    assert (tmp_path / "out.dat").read_text() == CSV.replace(",", "\t")
    # The log's own extension is the log's own format, whatever it is called.
    settings = LogSettings(format="tsv", header=False, columns="user_id,item_id")
    for source, target in (("u.data", "v.data"), ("ml-1m.train.rating", "clean.rating")):
        (tmp_path / source).write_text("1\t2\n3\t4\n")
        write_rows(read_log(str(tmp_path / source), settings), str(tmp_path / target), np.array([1]))
        assert (tmp_path / target).read_text() == "3\t4\n"


def test_extra_columns_in_delimited_text(log, tmp_path):
    extra = {
        "noise_score": np.array([0.25, np.nan]),
        "keep": np.array([True, False]),
        "reason": pa.array(['odd, "very"', None]),
    }
    write_rows(log, str(tmp_path / "out.csv"), np.array([0, 2]), extra=extra)
    assert (tmp_path / "out.csv").read_text() == (
        "user_id,item_id,rating,code,flag,note,noise_score,keep,reason\n"
        '1,10,4.0,007,true,a,0.25,true,"odd, ""very"""\n'
        "3,30,,9,true,c,,false,\n"
    )
    (tmp_path / "bare.csv").write_bytes(b"\n1,2\n\n3,4")
    bare = read_log(str(tmp_path / "bare.csv"), LogSettings(header=False, columns="user_id,item_id"))
    write_rows(bare, str(tmp_path / "out2.csv"), np.array([0, 1]), extra={"x": np.array([8, 9])})
    assert (tmp_path / "out2.csv").read_bytes() == b"\n1,2,8\n\n3,4,9"


def test_extra_columns_in_json(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"user_id": 1, "item_id": "a}", "x": 1.50 }\r\n{}\n')
    log = read_log(str(path), LogSettings(null_ids="keep"))
    write_rows(log, str(tmp_path / "out.jsonl"), np.array([0, 1]), extra={"s": np.array([np.nan, 0.5])})
    assert (tmp_path / "out.jsonl").read_bytes() == (
        b'{"user_id": 1, "item_id": "a}", "x": 1.50 , "s": null}\r\n{"s": 0.5}\n'
    )


def test_extra_columns_in_parquet(tmp_path):
    log = table_log(tmp_path, {"user_id": [1, 2, 3], "item_id": ["a", "b", "c"]})
    extra = {"noise_score": np.array([0.5, 1.0], np.float32), "reason": pa.array(["x", None])}
    write_rows(log, str(tmp_path / "out.parquet"), np.array([True, False, True]), extra=extra)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.to_pylist() == [
        {"user_id": 1, "item_id": "a", "noise_score": 0.5, "reason": "x"},
        {"user_id": 3, "item_id": "c", "noise_score": 1.0, "reason": None},
    ]
    assert table.schema.field("noise_score").type == pa.float32()


def test_row_groups_come_back_and_empty_ones_go(tmp_path):
    table = pa.table({"user_id": range(7), "item_id": [str(n) for n in range(7)]})
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=2)
    log = read_log(str(tmp_path / "log.parquet"), LogSettings())
    keep = np.array([True, False, False, False, True, True, True])
    write_rows(log, str(tmp_path / "out.parquet"), keep, extra={"s": np.arange(4)})
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert [file.read_row_group(n)["user_id"].to_pylist() for n in range(file.num_row_groups)] == [[0], [4, 5], [6]]
    assert file.read()["s"].to_pylist() == [0, 1, 2, 3]
    write_rows(log, str(tmp_path / "none.parquet"), np.zeros(7, bool))
    file = pq.ParquetFile(tmp_path / "none.parquet")
    assert (file.num_row_groups, file.read().schema) == (0, table.schema)


@pytest.mark.parametrize("compliant", [True, False])
def test_each_column_keeps_its_compression(tmp_path, compliant):
    table = pa.table({"user_id": [1, 2], "item_id": ["a", "b"], "tags": [["x"], []], "place": [{"x": 1, "y": 2.5}] * 2})
    leaf = "tags.list." + ("element" if compliant else "item")
    codecs = {"user_id": "NONE", "item_id": "ZSTD", leaf: "GZIP", "place.x": "SNAPPY", "place.y": "LZ4"}
    pq.write_table(table, tmp_path / "log.parquet", compression=codecs, use_compliant_nested_type=compliant)
    log = read_log(str(tmp_path / "log.parquet"), LogSettings())
    write_rows(log, str(tmp_path / "out.parquet"), np.array([1]), extra={"s": np.array([0.5])})
    group = pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0)
    found = [group.column(n).compression for n in range(group.num_columns)]
    assert found == ["UNCOMPRESSED", "ZSTD", "GZIP", "SNAPPY", "LZ4", "UNCOMPRESSED"]
    assert pq.read_table(tmp_path / "out.parquet").drop_columns("s").equals(table.slice(1))


def test_extra_column_that_is_there_already(log, tmp_path):
    with pytest.raises(UsageError) as caught:
        check_extra_names(log.name, log.column_names, ["noise_score", "rating"])
    assert 'already has a column "rating"' in caught.value.message
    with pytest.raises(UsageError, match="rating"):
        write_rows(log, str(tmp_path / "out.csv"), ALL, extra={"rating": np.zeros(3)})
    assert not (tmp_path / "out.csv").exists()


def test_wrong_selections_are_refused(log):
    for rows in (np.ones(2, bool), np.array([2, 1]), np.array([0, 0]), np.array([3]), np.array([-1])):
        with pytest.raises(ValueError, match=r"selection|row numbers"):
            write_rows(log, "-", rows)
    with pytest.raises(ValueError, match="2 values for 3 rows"):
        write_rows(log, "-", ALL, extra={"x": np.zeros(2)})


def test_delimited_text_to_typed_columns(log, tmp_path):
    write_rows(log, str(tmp_path / "out.parquet"), ALL)
    table = pq.read_table(tmp_path / "out.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "user_id": "int64",
        "item_id": "int64",
        "rating": "double",
        "code": "large_string",  # 007 would not come back from a number
        "flag": "bool",
        "note": "large_string",
    }
    assert table.column("rating").to_pylist() == [4.0, 1.5, None]
    assert table.column("note").to_pylist() == ["a", "", "c"]
    # The types depend on the whole log, so that kept and removed rows agree; and the text comes back.
    write_rows(log, str(tmp_path / "two.parquet"), np.array([1, 2]))
    assert pq.read_schema(tmp_path / "two.parquet") == table.schema
    write_rows(read_log(str(tmp_path / "out.parquet"), LogSettings()), str(tmp_path / "back.csv"), ALL)
    assert (tmp_path / "back.csv").read_text() == CSV


@pytest.mark.parametrize(
    "values",
    [["1.50", "2"], ["1e5", "2"], ["+1", "2"], ["0x1", "2"], ["nan", "1.5"], ["True", "False"], [" 1", "2"],
     ["9223372036854775808", "1"], ["0.1000000000000000055", "0.5"], ["", ""], ["-0", "1"]],
)  # fmt: skip
def test_what_would_not_come_back_stays_text(tmp_path, values):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,x\n" + "".join(f"1,2,{value}\n" for value in values))
    write_rows(read_log(str(path), LogSettings()), str(tmp_path / "out.parquet"), np.ones(2, bool))
    assert pq.read_table(tmp_path / "out.parquet").column("x").to_pylist() == values


RICH = {
    "user_id": [1, 2],
    "item_id": ["a,b", 'say "x"\n'],
    "real": [4.0, math.nan],
    "zoned": pa.array([datetime(2020, 1, 1, 5, tzinfo=UTC), None], pa.timestamp("us", "Europe/Paris")),
    "naive": pa.array([1, 10**9], pa.timestamp("ns")),
    "price": [Decimal("1.50"), None],
    "kind": pa.array(["k", None]).dictionary_encode(),
    "flag": [True, None],
}


def test_parquet_to_delimited_text(tmp_path):
    log = table_log(tmp_path, RICH)
    write_rows(log, str(tmp_path / "out.csv"), np.ones(2, bool))
    assert (tmp_path / "out.csv").read_text() == (
        "user_id,item_id,real,zoned,naive,price,kind,flag\n"
        '1,"a,b",4.0,2020-01-01T05:00:00.000000Z,1970-01-01T00:00:00.000000001,1.50,k,true\n'
        '2,"say ""x""\n",,,1970-01-01T00:00:01.000000000,,,\n'
    )
    back = read_log(str(tmp_path / "out.csv"), LogSettings())
    assert back.item_ids().to_pylist() == RICH["item_id"]


def test_parquet_to_json(tmp_path):
    log = table_log(tmp_path, RICH | {"tags": [[1.5], [math.nan, None]], "place": [{"t": b"x"}, None]})
    write_rows(log, str(tmp_path / "out.jsonl.gz"), np.ones(2, bool), extra={"s": np.array([0.5, np.nan])})
    lines = gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()).decode().splitlines()
    assert [json.loads(line, parse_constant=pytest.fail) for line in lines] == [
        {"user_id": 1, "item_id": "a,b", "real": 4.0, "zoned": "2020-01-01T05:00:00.000000Z",
         "naive": "1970-01-01T00:00:00.000000001", "price": "1.50", "kind": "k", "flag": True,
         "tags": [1.5], "place": {"t": "x"}, "s": 0.5},
        {"user_id": 2, "item_id": 'say "x"\n', "real": None, "zoned": None,
         "naive": "1970-01-01T00:00:01.000000000", "price": None, "kind": None, "flag": None,
         "tags": [None, None], "place": None, "s": None},
    ]  # fmt: skip


def test_lists_do_not_fit_into_delimited_text(tmp_path):
    log = table_log(tmp_path, {"user_id": [1], "item_id": [2], "tags": [[1]]})
    with pytest.raises(OutputError) as caught:
        write_rows(log, str(tmp_path / "out.csv"), np.ones(1, bool))
    assert 'Column "tags" of' in caught.value.message
    assert "CSV and TSV cannot hold" in caught.value.message
    assert ".parquet" in caught.value.hint
    assert not (tmp_path / "out.csv").exists()


def test_json_to_parquet(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"user_id": 1, "item_id": "a", "n": 9007199254740993}\n{"user_id": 2, "item_id": "b", "t": [1]}\n')
    write_rows(read_log(str(path), LogSettings()), str(tmp_path / "out.parquet"), np.ones(2, bool))
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [
        {"user_id": 1, "item_id": "a", "n": 9007199254740993, "t": None},
        {"user_id": 2, "item_id": "b", "n": None, "t": [1]},
    ]


@pytest.mark.parametrize("depth", [31, 32, 500])
@pytest.mark.parametrize("kind", ["list", "object"])
def test_json_that_is_nested_too_deeply_for_parquet_is_text_there(tmp_path, depth, kind):
    opened, closed = {"list": ("[", "]"), "object": ('{"a": ', "}")}[kind]
    nested = opened * depth + "1" + closed * depth
    (tmp_path / "log.jsonl").write_text(f'{{"user_id": 1, "item_id": 2, "x": {nested}}}\n')
    write_rows(read_log(str(tmp_path / "log.jsonl"), LogSettings()), str(tmp_path / "out.parquet"), np.ones(1, bool))
    [row] = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert row["x"] == (nested if depth > 31 else json.loads(nested))


def test_text_that_the_encoding_lacks(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes("user_id,item_id\n1,\u00e9\n".encode("latin-1"))
    log = read_log(str(path), LogSettings(encoding="latin-1"))
    with pytest.raises(IadsrError, match="cannot hold these rows as csv"):
        write_rows(log, str(tmp_path / "out.csv"), np.ones(1, bool), extra={"reason": pa.array(["\u2603"])})
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_replacing_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), replacing(str(tmp_path / "x"), force=True) as file:
        file.write(b"half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_no_heavy_import():
    code = (
        "import sys, iadsr_cli.logs.reader, iadsr_cli.logs.writer; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'pandas', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
