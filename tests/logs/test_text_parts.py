"""Text logs in parts: what is read and written of them is what is in memory, wherever a block of text ends."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import zstandard
from generated import generated_log
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written import write_rows

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import IadsrError, InputError, OutputError, UsageError
from iadsr_cli.logs import blocks as blocks_module
from iadsr_cli.logs import conversion, parted_writer
from iadsr_cli.logs.conditions import rows_where
from iadsr_cli.logs.parted_reader import open_parts
from iadsr_cli.logs.parted_writer import check_writing, stands, writing, writing_folder
from iadsr_cli.logs.parts import PartedLog
from iadsr_cli.logs.reader import Log, read_log
from iadsr_cli.logs.writer import check_rows, drafted_folder
from iadsr_cli.progress import Silent

RANDOM = st.randoms(use_true_random=True)
SLOW = settings(deadline=None, max_examples=10, suppress_health_check=list(HealthCheck))
TYPES = {"noise_score": pa.float32(), "reason": pa.string()}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few bytes, and row groups of three rows."""
    monkeypatch.setattr(blocks_module, "BLOCK", 7)
    for module in (conversion, parted_writer):
        monkeypatch.setattr(module, "GROUP", 3)


def opened(source: Path | str, used: LogSettings) -> PartedLog:
    return open_parts(str(source), used, Silent())


def write_parts(log: PartedLog, target: Path, keep: np.ndarray, extra: dict[str, pa.Array] | None = None) -> None:
    types = {name: column.type for name, column in (extra or {}).items()}
    check_writing(log, str(target), types)
    with writing(log, str(target), types, force=True) as write:
        done = 0
        for piece in log.pieces(with_columns=not stands(log, str(target))):
            chosen = keep[piece.first : piece.first + piece.records.num_rows]
            size = int(chosen.sum())
            write(piece, chosen, {name: column.slice(done, size) for name, column in (extra or {}).items()})
            done += size


def assert_equal(table: pa.Table, other: pa.Table) -> None:
    """Compare values and types, column by column; NaN is NaN, wherever it stands."""
    assert table.schema.equals(other.schema, check_metadata=True)
    for name, column, expected in zip(table.column_names, table.columns, other.columns, strict=True):
        # What Python writes of a value tells it from every other one.
        assert str(column.to_pylist()) == str(expected.to_pylist()), name


def plain(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(content)
    return zstandard.ZstdDecompressor().decompressobj().decompress(content) if path.suffix == ".zst" else content


def both(source: Path, used: LogSettings) -> tuple[Log, PartedLog] | None:
    """Return the log in memory and in parts; None if it is refused, as it then is by both in the same words."""
    try:
        memory = read_log(str(source), used)
    except IadsrError as error:
        with pytest.raises(type(error)) as caught:
            list(opened(source, used).parts())
        assert caught.value.message == error.message
        # A block of a few bytes does not have all of the first lines.
        of_lines = re.compile("^Its first lines|^A line of 1 field")
        assert caught.value.hint == error.hint or any(map(of_lines.match, (caught.value.hint, error.hint)))
        return None
    return memory, opened(source, used)


@pytest.mark.parametrize("target", ["parquet", "csv", "tsv", "jsonl"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
@SLOW
@given(random=RANDOM, block=st.sampled_from([1, 2, 5, 16, 64, 1 << 20]))
def test_every_pair_of_formats_is_as_in_memory(tmp_path: Path, kind: str, target: str, random: Random, block) -> None:
    log = generated_log(random, kind)
    blocks_module.BLOCK = max(block, len(log.content) // 30)
    source = tmp_path / f"log.{kind}{log.suffix}"
    source.write_bytes(log.content)
    read = both(source, log.settings)
    if read is None:
        return
    memory, parted = read
    assert parted.num_rows == memory.num_rows
    assert parted.column_names == memory.column_names
    parts = list(parted.parts())
    assert pa.concat_arrays([part.users for part in parts]).equals(memory.user_ids())
    assert pa.concat_arrays([part.items for part in parts]).equals(memory.item_ids())
    if memory.order() is not None:
        assert np.concatenate([part.order for part in parts]).tolist() == memory.order().tolist()
    if block < 10 and 3 < memory.num_rows < 30:
        assert len(parts) > 1
    keep = np.array([random.random() < 0.6 for _ in range(memory.num_rows)])
    whole, pieces = tmp_path / f"memory.{target}{log.suffix}", tmp_path / f"parts.{target}{log.suffix}"
    if target == "parquet":
        whole, pieces = whole.with_name("memory.parquet"), pieces.with_name("parts.parquet")
    pieces.unlink(missing_ok=True)
    extra = None
    if random.random() < 0.5:
        size = int(keep.sum())
        reasons = pa.array([f"a,{n}\t\"b'" for n in range(size)])
        extra = {"noise_score": pa.array(np.linspace(0, 1, size, dtype=np.float32)), "reason": reasons}
    refused = None
    try:
        check_rows(memory, str(whole), extra or ())
    except IadsrError as error:
        refused = type(error)
    try:
        write_parts(parted, pieces, keep, extra)
    except OutputError as error:
        # Of lists and objects a part does not tell what all of them are.
        assert refused or any(
            words in error.message for words in ("holds lists, whose type", "holds objects, whose type")
        ), error
        assert kind == "jsonl"
        assert not pieces.exists()
        return
    assert refused is None
    write_rows(memory, str(whole), keep, extra=extra, force=True)
    if target == "parquet":
        assert_equal(pq.read_table(pieces), pq.read_table(whole))
        assert pq.ParquetFile(pieces).num_row_groups == pq.ParquetFile(whole).num_row_groups
    else:
        assert pieces.read_bytes() == whole.read_bytes()


def log_of(tmp_path: Path, content: bytes, name: str = "log.csv", **used: object) -> PartedLog:
    (tmp_path / name).write_bytes(content)
    return opened(tmp_path / name, LogSettings(**used))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
@given(
    fields=st.lists(st.text(st.sampled_from('a1,"\r\n\u00e9\ufeff \U0001f600'), min_size=1, max_size=5), min_size=2),
    ends=st.lists(st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\r", "\r\n\r\n"]), min_size=8, max_size=8),
    mark=st.sampled_from(["", "\ufeff"]),
    block=st.integers(1, 9),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-be", "utf-32-le", "gb18030"]),
    named=st.booleans(),
    left=st.booleans(),
)
def test_blocks_are_cut_between_records(
    tmp_path: Path, fields: list[str], ends: list[str], mark: str, block: int, encoding: str, named: bool, left: bool
) -> None:
    """Line ends, quotes, blank lines, marks and characters of several bytes lie across the edges of blocks."""
    blocks_module.BLOCK = block
    rows = ['"' + field.replace('"', '""') + '",i' + ("" if number % 3 else field.strip('",\r\n\ufeff'))
            for number, field in enumerate(fields)]  # fmt: skip
    header = [mark + "user_id,item_id"] if named else [mark + rows.pop(0)]
    text = "".join(line + end for line, end in zip([*header, *rows], ends * 9, strict=False))
    text = text if left else text.rstrip("\r\n")
    codec = {"utf-16": "utf-16-le"}.get(encoding, encoding)
    (tmp_path / "log.csv").write_bytes(text.encode(codec))
    used = LogSettings(encoding=encoding, null_ids="keep", header=named, columns=None if named else "user_id,item_id")
    read = both(tmp_path / "log.csv", used)
    if read is None:
        return
    memory, parted = read
    assert pa.concat_arrays([part.users for part in parted.parts()]).equals(memory.user_ids())
    assert [part.records.place(row) for part in parted.parts() for row in range(len(part.users))] == [
        memory.records.place(row) for row in range(memory.num_rows)
    ]
    for keep in (np.arange(memory.num_rows) % 2 == 0, np.ones(memory.num_rows, bool)):
        write_parts(parted, tmp_path / "parts.csv", keep)
        write_rows(memory, str(tmp_path / "memory.csv"), keep, force=True)
        assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "memory.csv").read_bytes()
    assert (tmp_path / "parts.csv").read_bytes() == text.encode(codec)


@pytest.mark.parametrize("columns", ["user_id,item_id,rating,timestamp", "user_id,item_id,..."])
def test_records_with_a_long_delimiter(tmp_path: Path, columns: str) -> None:
    used = {"delimiter": "::", "header": False, "columns": columns, "encoding": "latin-1"}
    lines = [f"{n}::caf\u00e9 {n % 3}::5::{978300760 + n}\r\n" for n in range(20)]
    log = log_of(tmp_path, "".join(lines).encode("latin-1"), "ratings.dat", **used)
    assert len(list(log.parts())) > 3
    write_parts(log, tmp_path / "out.dat", np.arange(20) % 3 == 0)
    assert (tmp_path / "out.dat").read_bytes() == "".join(lines[::3]).encode("latin-1")


@pytest.mark.parametrize(
    ("lines", "used", "message"),
    [
        (["1,2,3"], {}, "log.csv, line 41: expected 2 fields, found 3."),
        (["1,2", "", '1,"a\nb"x'], {}, "log.csv, line 43: the quoting is broken"),
        (['1,"a\nb', "c"], {}, "log.csv, line 41: a quoted field begins here and never ends."),
        (
            [",2", "\n", ",2"],
            {},
            '2 of 41 rows have no user id in column "user_id" of {}, the first is row 40 (line 41).',
        ),
        (["1,\udcff"], {}, "log.csv, line 41: byte 0xff is not utf-8 text."),
        (["1,\0"], {}, "log.csv, line 41: there is a NUL byte."),
        (["1,2", "1,soon"], {"item_column": "user_id", "user_column": "item_id", "time_column": "item_id"}, "at once"),
    ],
)
def test_errors_name_lines_of_the_whole_file(tmp_path: Path, lines: list[str], used: dict, message: str) -> None:
    content = "user_id,item_id\n" + "".join(f"{n},{n % 7}\n" for n in range(39)) + "\n".join(lines) + "\n"
    with pytest.raises(IadsrError) as caught:
        list(log_of(tmp_path, content.encode("utf-8", "surrogateescape"), **used).parts())
    assert message.format(tmp_path / "log.csv") in caught.value.message
    with pytest.raises(IadsrError) as whole:
        read_log(str(tmp_path / "log.csv"), LogSettings(**used))
    assert (whole.value.message, whole.value.hint) == (caught.value.message, caught.value.hint)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"user_id": 1', "log.jsonl, line 31: this is not valid JSON"),
        ("[1]", "log.jsonl, line 31: expected a JSON object, found a list."),
        ('{"user_id": true, "item_id": 3}', "holds mixed"),
        (
            '{"user_id": 1, "item_id": null}',
            '1 of 31 rows has no item id in column "item_id" of {}, the first is row 31',
        ),
    ],
)
def test_errors_of_json_name_lines_of_the_whole_file(tmp_path: Path, line: str, message: str) -> None:
    lines = [f'{{"user_id": {n}, "item_id": {n % 7}}}\n' for n in range(30)]
    content = "".join([*lines, line, "\n"]).encode()
    with pytest.raises(IadsrError) as whole:
        (tmp_path / "log.jsonl").write_bytes(content)
        read_log(str(tmp_path / "log.jsonl"), LogSettings())
    with pytest.raises(IadsrError) as caught:
        list(log_of(tmp_path, content, "log.jsonl").parts())
    assert (whole.value.message, whole.value.hint) == (caught.value.message, caught.value.hint)
    assert message == "holds mixed" or message.format(tmp_path / "log.jsonl") in caught.value.message


def test_a_record_without_an_end_is_no_reason_to_read_on_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks_module, "_LONGEST", 1_000)
    begun = b'user_id,item_id\n1,2\n1,"never\n' + b"3,4\n" * 10_000
    with pytest.raises(InputError, match=r"line 3: a quoted field begins here and never ends\."):
        log_of(tmp_path, begun)
    with pytest.raises(InputError, match=r"line 3: a record, with the blank lines after it, is longer than 0 MiB\."):
        log_of(tmp_path, b"user_id,item_id\n1,2\n1,3" + b"\n" * 5_000 + b"1,4\n")
    with pytest.raises(InputError, match=r"line 3: a record, with the blank lines after it, is longer than 0 MiB\."):
        log_of(tmp_path, b"user_id,item_id\n1,2\n1,3" + b"x" * 5_000 + b"\n1,4\n")


@pytest.mark.parametrize("encoding", ["iso2022_jp", "hz", "utf-7", "unicode_escape"])
def test_encodings_that_cannot_be_cut_are_refused(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(UsageError, match="cannot be cut into parts") as caught:
        log_of(tmp_path, b"user_id,item_id\n1,2\n", encoding=encoding)
    assert "--in-parts never" in caught.value.hint


TIMES = {
    "ISO": ["2024-01-02", "2024-01-02T03:04:05Z", "2024-01-02 03:04:05.25+02:00", "1999-12-31"],
    "beyond nanoseconds": ["2024-01-02", "3024-01-02", "1024-01-02", "2024-01-03"],
    "American": ["01/02/2024", "02/01/2024", "12/31/2024", "01/13/2024"],
    "European, late": ["01/02/2024", "02/01/2024", "03/04/2024", "13/01/2024"],
    "American or European": ["01/02/2024 10:15", "02/01/2024 10:00", "11/12/2024 09:30", "01/03/2024 10:00"],
    "both": ["01/02/2024", "13/01/2024", "01/13/2024", "01/02/2024"],
    "whole, then not": ["1700000000", "3", "1700000000.5", "1e3"],
    "milliseconds, late": ["3", "4", "5", "1700000000000"],
    "several units": ["1700000000", "3", "1700000000.5", "1700000000000"],
    "a late year": ["1700000000", "253402300799", "0", "-1"],
    "hexadecimal": ["0x1", "2", "3.5", "4"],
    "a word, late": ["2024-01-02", "2024-01-03", "2024-01-04", "soon"],
    "one missing": ["2024-01-02", "", "2024-01-04", ""],
    "not finite": ["1", "nan", "2.5", "inf"],
    "nothing": ["", "", "", ""],
    "one missing, and a day that tells": ["01/02/2024", "", "13/01/2024", "02/02/2024"],
    "one missing among fractions": ["1700000000.5", "", "1700000000.25", "1700000000"],
}


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(("gap", "null_times"), [(None, "error"), ("1h", "error"), (None, "keep"), ("1h", "keep")])
def test_times_are_read_in_one_way(tmp_path: Path, name: str, kind: str, gap: str | None, null_times: str) -> None:
    times = TIMES[name] * 3
    source = tmp_path / f"log.{kind}"
    table = pa.table({"user_id": ["a", "b"] * 6, "item_id": ["x"] * 12, "time": times})
    if kind == "parquet":
        pq.write_table(table, source, row_group_size=1)
    elif kind == "csv":
        source.write_text("user_id,item_id,time\n" + "".join(f"a,x,{time}\n" for time in times))
    else:
        source.write_text("".join(f'{{"user_id": "a", "item_id": "x", "time": "{time}"}}\n' for time in times))
    used = LogSettings(session_gap=gap, null_times=null_times)
    read = both(source, used)
    if read is None:
        assert name == "nothing" or null_times == "error" or not name.startswith("one missing")
        return
    memory, parted = read
    parts = list(parted.parts())
    assert len(parts) > 3
    assert memory.order() is not None
    assert np.concatenate([part.order for part in parts]).tolist() == memory.order().tolist()
    assert pa.concat_arrays([part.items for part in parts]).equals(memory.item_ids())
    assert np.concatenate([part.timeless for part in parts]).tolist() == memory.timeless.tolist()
    assert memory.timeless.any() == name.startswith(("one missing", "not finite"))
    assert list(memory.warnings) == parted.warnings()
    assert bool(memory.warnings) == (name == "American or European")
    if gap:
        assert all(part.seconds is not None for part in parts)


@pytest.mark.parametrize("read", [opened, read_log])
def test_nanoseconds_and_far_years_do_not_go_together(tmp_path: Path, read: Callable[..., object]) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,time\n" + "1,2,2024-01-01T00:00:00.123456789\n" * 3 + "1,2,3024-01-01\n")
    with pytest.raises(InputError, match="holds both nanoseconds and times outside 1677 to 2262"):
        read(str(path), LogSettings())


def test_types_of_json_are_those_of_all_rows(tmp_path: Path) -> None:
    ids = ["1", "2.0", "3", '"4"', "5", "6.0"]
    lines = [f'{{"user_id": {each}, "item_id": {n}}}\n' for n, each in enumerate(ids)]
    lines.append('{"late": 7, "user_id": "x", "item_id": 1.0}\n')
    log = log_of(tmp_path, "".join(lines).encode(), "log.jsonl")
    memory = read_log(str(tmp_path / "log.jsonl"), LogSettings())
    parts = list(log.parts(with_columns=True))
    assert len(parts) > 3
    assert log.column_names == memory.column_names == ["user_id", "item_id", "late"]
    assert pa.concat_arrays([part.users for part in parts]).to_pylist() == memory.user_ids().to_pylist()
    assert memory.user_ids().to_pylist()[1] == "2.0", "beside texts, numbers are texts"
    assert pa.concat_arrays([part.items for part in parts]).to_pylist() == memory.item_ids().to_pylist()
    held = np.concatenate([rows_where(part.records, "late > 6", "--protect") for part in parts])
    assert held.tolist() == [False] * 6 + [True]


def test_lists_and_objects_stay_in_json(tmp_path: Path) -> None:
    lines = [f'{{"user_id": {n}, "item_id": 1, "tags": [{n}], "kept": [1]}}\n' for n in range(9)]
    log = log_of(tmp_path, "".join(lines).encode(), "log.jsonl")
    for target in ("parquet", "csv"):
        with pytest.raises(OutputError, match=f"written as {target} in parts") as caught:
            check_writing(log, str(tmp_path / f"out.{target}"), {})
        assert caught.value.message.startswith(f'Column "tags" of {tmp_path / "log.jsonl"} holds lists, whose type')
        assert "--in-parts never" in caught.value.hint
    write_parts(log, tmp_path / "out.jsonl", np.arange(9) > 6)
    assert (tmp_path / "out.jsonl").read_text() == "".join(lines[7:])


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_folder_comes_back_file_by_file_and_in_one(tmp_path: Path, suffix: str) -> None:
    compress = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    contents = {
        "day=1/a.csv": b"\xef\xbb\xbfuser_id,item_id\r\n1,2\r\n3,4",
        "day=2/b.csv": b"user_id,item_id\n",
        "day=2/c.csv": b'user_id,item_id\n5,"6\n7"\n\n8,9',
        "day=x/d.csv": b"\nuser_id,item_id\n10,11\n",
    }
    for name, content in contents.items():
        path = tmp_path / "log" / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(compress(content))
    memory, parted = read_log(str(tmp_path / "log"), LogSettings()), opened(tmp_path / "log", LogSettings())
    assert parted.column_names == memory.column_names == ["user_id", "item_id", "day"]
    keep = np.array([True, True, True, False, True])
    with drafted_folder(memory, str(tmp_path / "memory"), keep):
        pass
    with writing_folder(parted, str(tmp_path / "parts"), {}, force=False) as write:
        for piece in parted.pieces():
            write(piece, keep[piece.first : piece.first + piece.records.num_rows], {})
    for name in contents:
        files = [tmp_path / folder / f"{name}{suffix}" for folder in ("memory", "parts")]
        assert files[1].read_bytes() == files[0].read_bytes(), name
    for target in ("one.csv", "one.parquet", "one.jsonl", "one.tsv"):
        write_rows(memory, str(tmp_path / f"m-{target}"), keep)
        write_parts(parted, tmp_path / f"p-{target}", keep)
        assert plain(tmp_path / f"p-{target}") == plain(tmp_path / f"m-{target}"), target
    places = [part.records.place(0) for part in parted.parts() if len(part.users)]
    assert f"row 1 (line 2) of day=2/c.csv{suffix}" in places


def test_the_log_is_read_as_often_however_many_blocks_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, read = blocks_module.TextFile.blocks, []

    def counted(self, *arguments):
        read.append(self)
        return blocks(self, *arguments)

    monkeypatch.setattr(blocks_module.TextFile, "blocks", counted)
    times = {}
    for rows in (5, 50):
        source = tmp_path / f"{rows}.csv"
        # No column has numbers alone, so that none gets a type of its own.
        source.write_text("user_id,item_id\n" + "u,i\n" * rows)
        read.clear()
        write_parts(opened(source, LogSettings()), tmp_path / f"{rows}.parquet", np.ones(rows, dtype=bool))
        times[rows] = len(read)
    assert times[5] == times[50]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("several", [False, True])
def test_what_does_not_describe_items_is_found_in_whatever_parts_rows_come(
    tmp_path: Path, kind: str, several: bool
) -> None:
    table = pa.table(
        {"user_id": range(9), "item_id": [n % 3 for n in range(9)], "text": [f"text {n}" for n in range(9)]}
    )
    source = tmp_path / "log" if several else tmp_path / f"log.{kind}"
    for first in (0, 5) if several else (0,):
        place = source / f"day={first}" / f"part.{kind}" if several else source
        place.parent.mkdir(parents=True, exist_ok=True)
        own = table.slice(first, 5) if several else table
        if kind == "parquet":
            pq.write_table(own, place, row_group_size=1)
        elif kind == "csv":
            pyarrow.csv.write_csv(own, place)
        else:
            place.write_text("".join(json.dumps(row) + "\n" for row in own.to_pylist()))
    used = LogSettings()
    memory = read_log(str(source), used).item_texts()
    assert memory.rejected is not None
    assert opened(source, used).item_texts(Silent()) == memory


@pytest.mark.parametrize("text", ["", "title"])
def test_items_and_their_texts_are_those_of_memory_wherever_blocks_end(tmp_path: Path, text: str) -> None:
    rows = ["1,b,", "1,a,one", "1,a,two", "2,c,", "2,b,three", "2,a,one", "3,a,one", "3,b,three", "3,c,", "4,d,four"]
    content = "user_id,item_id,title\n" + "\n".join(rows)
    used = LogSettings(text_column=(text or "none",))
    log = log_of(tmp_path, content.encode(), text_column=used.text_column)
    memory, parts = read_log(str(tmp_path / "log.csv"), used).item_texts(), log.item_texts(Silent())
    assert parts == memory
    assert parts.ids == ["b", "a", "c", "d"]
    assert (parts.texts, parts.conflicting) == ((["three", "one", None, "four"], 1) if text else ([None] * 4, 0))
