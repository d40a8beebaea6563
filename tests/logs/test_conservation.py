"""Rows given back are the rows that came in: kept and removed together are the input, byte for byte."""

import csv
import gzip
import io
import json
import math
import re
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from generated import KINDS, conserve, from_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written import write_rows

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import OutputError
from iadsr_cli.logs import delimited as delimited_module
from iadsr_cli.logs.delimited import DelimitedRecords, _split_plain, _split_quoted
from iadsr_cli.logs.parted_reader import open_parts
from iadsr_cli.logs.parted_writer import check_writing, writing
from iadsr_cli.logs.reader import read_items, read_log
from iadsr_cli.logs.texts import Lines, line_offsets
from iadsr_cli.logs.writer import check_rows
from iadsr_cli.progress import Silent

FAST = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])

TEXT = st.text(
    st.one_of(
        st.sampled_from("ab01,;\t\"'\n\r \\\u2028\u00e9\U0001f600"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=8,
)
ID = st.one_of(st.integers(-(2**63), 2**63 - 1).map(str), TEXT.filter(bool))
ENDINGS = st.sampled_from(["\n", "\r\n"])
COMPRESSION = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


def plain(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(content)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return content


@st.composite
def delimited(draw, delimiter):
    """Return a delimited text, with the text of its header and of each record and the fields of each."""
    rows = draw(st.lists(st.tuples(ID, ID, TEXT), min_size=1, max_size=8))
    rows += rows[: draw(st.integers(0, 2))]  # duplicates
    odd = draw(st.booleans())

    def field(value):
        quoted = odd and draw(st.booleans())
        if quoted or any(character in value for character in delimiter + '"\r\n'):
            return '"' + value.replace('"', '""') + '"'
        return value

    header = delimiter.join(["user_id", "item_id", "note"]) + draw(ENDINGS)
    if draw(st.booleans()):
        header = "\ufeff" + header
    records = []
    for row in rows:
        blank = draw(st.sampled_from(["", "", "", "\n", "\r\n\n"]))
        records.append(delimiter.join(map(field, row)) + draw(ENDINGS) + blank)
    if draw(st.booleans()):
        records[-1] = records[-1].rstrip("\r\n")
    return header, records, rows


@st.composite
def json_lines(draw):
    value = st.one_of(TEXT, st.integers(), st.floats(allow_nan=False), st.none(), st.lists(st.integers(), max_size=2))
    objects = draw(
        st.lists(
            st.fixed_dictionaries(
                {"user_id": st.one_of(st.integers(), TEXT.filter(bool)), "item_id": ID},
                optional={"note": value, "rating": st.floats(allow_nan=False)},
            ),
            min_size=1,
            max_size=8,
        )
    )
    records = [
        json.dumps(record, ensure_ascii=draw(st.booleans())) + draw(st.sampled_from(["\n", " \r\n", "\n\n"]))
        for record in objects
    ]
    if draw(st.booleans()):
        records[-1] = records[-1].rstrip()
    return draw(st.sampled_from(["", "\ufeff", "\n"])), records, objects


def check_partition(tmp_path, name, header, records, data):
    """Read, split in two, write both: each has its records' own text, in order."""
    compress = COMPRESSION.get(Path(name).suffix, bytes)
    source = tmp_path / name
    source.write_bytes(compress((header + "".join(records)).encode()))
    log = read_log(str(source), LogSettings())
    assert log.num_rows == len(records)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records))))
    for selection in (keep, ~keep):
        target = tmp_path / ("out-" + name)
        write_rows(log, str(target), selection, force=True)
        expected = header + "".join(record for record, one in zip(records, selection, strict=True) if one)
        assert plain(target) == expected.encode()
        write_rows(log, str(target), np.flatnonzero(selection), force=True)
        assert plain(target) == expected.encode()
    return log


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize(("kind", "delimiter"), [("csv", ","), ("tsv", "\t")])
@FAST
@given(data=st.data())
def test_delimited_rows_come_back_byte_for_byte(tmp_path, kind, delimiter, suffix, data):
    header, records, rows = data.draw(delimited(delimiter))
    log = check_partition(tmp_path, f"log.{kind}{suffix}", header, records, data)
    for index, name in enumerate(["user_id", "item_id", "note"]):
        assert log.column(name).to_pylist() == [row[index] for row in rows]
    assert log.user_ids().to_pylist() == [row[0] for row in rows]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@FAST
@given(data=st.data())
def test_json_rows_come_back_byte_for_byte(tmp_path, suffix, data):
    header, records, objects = data.draw(json_lines())
    log = check_partition(tmp_path, f"log.jsonl{suffix}", header, records, data)
    assert log.user_ids().to_pylist() == [str(record["user_id"]) for record in objects]
    assert log.column_names == list(dict.fromkeys(key for record in objects for key in record))


@pytest.mark.parametrize("quote", ["'", "none"])
def test_other_quotes(tmp_path, quote):
    header, rows = "user_id,item_id,note\n", ["1,'a',\"x\n", "2,b,y\n", "3,'it''s',\"\n"]
    (tmp_path / "log.csv").write_text(header + "".join(rows))
    log = read_log(str(tmp_path / "log.csv"), LogSettings(quote_char=quote))
    assert log.item_ids().to_pylist() == (["a", "b", "it's"] if quote == "'" else ["'a'", "b", "'it''s'"])
    assert log.column("note").to_pylist() == ['"x', "y", '"']
    write_rows(log, str(tmp_path / "out.csv"), np.array([0, 2]), extra={"s": pa.array(["it's", '"'])})
    ends = ["'it''s'", '"'] if quote == "'" else ["it's", '"']
    expected = [row[:-1] + "," + end + "\n" for row, end in zip(rows[::2], ends, strict=True)]
    assert (tmp_path / "out.csv").read_text() == header[:-1] + ",s\n" + "".join(expected)
    # Elsewhere the usual quotes count.
    write_rows(log, str(tmp_path / "out.tsv"), np.array([0]))
    assert (tmp_path / "out.tsv").read_text().endswith('\t"""x"\n')


MOVIELENS = {"header": False, "columns": "user_id,item_id,rating,timestamp"}


@FAST
@given(data=st.data())
def test_records_with_a_long_delimiter_come_back_byte_for_byte(tmp_path, data):
    delimiter = data.draw(st.sampled_from(["::", "||", ", ", "\t\t", '","', "\u00a7\u00a7"]))
    field = st.text(st.sampled_from("a1:| ,\"'\u00e9\x1f\x1e\ue000"), min_size=1, max_size=5)
    # A field that ends as the delimiter begins would lend it a character.
    field = field.filter(lambda text: (text + delimiter).index(delimiter) == len(text))
    rows = data.draw(st.lists(st.tuples(field, field, field, field), min_size=1, max_size=6))
    records = [delimiter.join(row) + data.draw(st.sampled_from(["\n", "\r\n", "\n\n"])) for row in rows]
    (tmp_path / "ratings.dat").write_bytes("".join(records).encode())
    settings = LogSettings(delimiter=delimiter, time_column="none", **MOVIELENS)
    log = read_log(str(tmp_path / "ratings.dat"), settings)
    for index, name in enumerate(log.column_names):
        assert log.column(name).to_pylist() == [row[index] for row in rows]
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    write_rows(log, str(tmp_path / "out.dat"), keep, force=True)
    expected = "".join(record for record, one in zip(records, keep, strict=True) if one)
    assert (tmp_path / "out.dat").read_bytes() == expected.encode()
    write_rows(log, str(tmp_path / "out.csv"), keep, force=True)
    text = (tmp_path / "out.csv").read_text()
    assert list(csv.reader(io.StringIO(text)))[1:] == [list(row) for row, one in zip(rows, keep, strict=True) if one]


def test_fast_reading_with_a_long_delimiter_is_the_same():
    text = b'1::a"b::3\n\n2::c:::x\r\n3::::'
    lines = Lines("a.dat", text, line_offsets(text), "\x1f", "::", None)
    fast, slow = _split_plain(lines, ["a", "b", "c"]), _split_quoted(lines, ["a", "b", "c"])
    assert fast is not None
    assert fast[0].tolist() == slow[0].tolist() == [0, 11, 21, 26]
    assert fast[1].equals(slow[1])
    assert slow[1].to_pylist()[1:] == [{"a": "2", "b": "c", "c": ":x"}, {"a": "3", "b": "", "c": ""}]


def test_movielens(tmp_path):
    ratings = "1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n"
    (tmp_path / "ratings.dat").write_text(ratings)
    (tmp_path / "movies.dat").write_bytes('661::James (1996)::A\n1193::Am\u00e9lie, "x" (1975)::B\n'.encode("latin-1"))
    settings = LogSettings(delimiter="::", **MOVIELENS)
    log = read_log(str(tmp_path / "ratings.dat"), settings)
    assert (str(log.format), log.time_description) == ("dat", "timestamp (unix seconds)")
    assert log.order().tolist() == [978300760, 978302109, 978298413]
    write_rows(log, str(tmp_path / "clean.dat"), np.array([0, 2]), extra={"noise_score": np.array([0.5, 1])})
    assert (tmp_path / "clean.dat").read_text() == "1::1193::5::978300760::0.5\n2::1193::4::978298413::1.0\n"
    with pytest.raises(OutputError, match='"a::b" cannot be added to a file without quoting'):
        write_rows(log, str(tmp_path / "x.dat"), np.array([0]), extra={"reason": pa.array(["a::b"])})
    assert not (tmp_path / "x.dat").exists()
    write_rows(log, str(tmp_path / "clean.parquet"), np.array([1]))
    assert pq.read_table(tmp_path / "clean.parquet").to_pylist() == [
        {"user_id": 1, "item_id": 661, "rating": 3, "timestamp": 978302109}
    ]
    settings = LogSettings(delimiter="::", header=False, columns="item_id,title,genre", encoding="latin-1")
    texts = read_items(str(tmp_path / "movies.dat"), settings, joined=False)
    assert dict(zip(texts.ids, texts.texts, strict=True))["1193"] == 'Am\u00e9lie, "x" (1975)'


@st.composite
def tables(draw):
    size = draw(st.integers(1, 8))

    def column(values, type):
        drawn = draw(st.lists(st.none() | values, min_size=size, max_size=size))
        return pa.array(drawn, type)

    int64 = st.integers(-(2**63), 2**63 - 1)
    moments = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1))
    columns = {
        "user_id": pa.array(draw(st.lists(int64, min_size=size, max_size=size)), pa.int64()),
        "item_id": pa.array(draw(st.lists(ID, min_size=size, max_size=size))).dictionary_encode(),
        "large": column(int64, pa.int64()),
        "unsigned": column(st.integers(0, 2**64 - 1), pa.uint64()),
        "real": column(st.floats(), pa.float64()),
        "single": column(st.floats(width=32), pa.float32()),
        "zoned": column(moments.map(lambda m: m.replace(tzinfo=UTC)), pa.timestamp("us", "Europe/Paris")),
        "nanos": column(st.integers(0, 2**62), pa.timestamp("ns")),
        "date": column(st.dates(), pa.date32()),
        "price": column(st.decimals(-999, 999, places=2).map(Decimal), pa.decimal128(10, 2)),
        "flag": column(st.booleans(), pa.bool_()),
        "text": column(TEXT, pa.string()),
        "blob": column(st.binary(max_size=4), pa.binary()),
        "kind": column(st.sampled_from(["a", "b"]), pa.dictionary(pa.int32(), pa.string())),
        "tags": column(st.lists(st.integers(0, 9), max_size=3), pa.list_(pa.int32())),
        "place": column(st.fixed_dictionaries({"x": st.integers(0, 9)}), pa.struct({"x": pa.int16()})),
        "nothing": pa.nulls(size),
    }
    schema = pa.schema(
        [pa.field(name, array.type, metadata={"unit": name}) for name, array in columns.items()],
        metadata={"origin": "a test"},
    )
    table = pa.table(columns, schema=schema)
    return pa.concat_tables([table, table.slice(0, draw(st.integers(0, size)))])


@FAST
@given(
    table=tables(),
    codec=st.sampled_from(["none", "snappy", "gzip", "zstd", "lz4", "brotli"]),
    group=st.integers(1, 9),
    data=st.data(),
)
def test_parquet_rows_come_back_equal(tmp_path, table, codec, group, data):
    source, target = tmp_path / "log.parquet", tmp_path / "out.parquet"
    pq.write_table(table, source, compression=codec, row_group_size=group)
    before = pq.read_table(source)
    log = read_log(str(source), LogSettings())
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table))))
    for selection in (keep, ~keep):
        write_rows(log, str(target), selection, force=True)
        after = pq.read_table(target)
        assert after.schema.equals(before.schema, check_metadata=True)
        # Compared as text too: NaN is not equal to itself.
        assert str(after.to_pylist()) == str(before.filter(pa.array(selection)).to_pylist())
        assert after.drop_columns(["real", "single"]).equals(
            before.filter(pa.array(selection)).drop_columns(["real", "single"])
        )
        if selection.any():
            written = pq.ParquetFile(target).metadata.row_group(0).column(0).compression
            assert written == pq.ParquetFile(source).metadata.row_group(0).column(0).compression


LOOSE = st.lists(
    st.lists(st.text(st.sampled_from("a1 ;\u00e9\ufeff\r\n,x"), max_size=4), min_size=3, max_size=3), max_size=6
)


@settings(deadline=None, max_examples=150)
@given(rows=LOOSE, endings=st.lists(st.sampled_from(["\n", "\r\n", "\r", "\n\n", ""]), min_size=6, max_size=6))
def test_fast_reading_is_the_same_as_the_standard_librarys(rows, endings):
    text = "".join(",".join(row) + end for row, end in zip(rows, endings, strict=False)).encode()
    if not text:
        return
    columns = ["a", "b", "c"]
    lines = Lines("log.csv", text, line_offsets(text), ",")
    fast = _split_plain(lines, columns)
    if fast is None:
        return
    offsets, table, _ = _split_quoted(lines, columns)
    assert fast[0].tolist() == offsets.tolist()
    assert fast[1].equals(table)


def test_the_fast_reading_is_used_where_there_is_no_quote():
    text = b"1,2\n3,4\r\n\n5,6"
    fast = _split_plain(Lines("log.csv", text, line_offsets(text), ","), ["a", "b"])
    assert fast is not None
    assert fast[0].tolist() == [0, 4, 10, 13]


@settings(deadline=None, max_examples=40)
@given(data=st.data(), block=st.integers(1, 4))
def test_blocks_do_not_change_what_is_read(data, block):
    header, records, rows = data.draw(delimited(","))
    content = (header + "".join(records)).encode()
    whole = delimited_module._BLOCK
    try:
        delimited_module._BLOCK = block
        lines = Lines("log.csv", content, line_offsets(content), ",")
        offsets, table, _ = _split_quoted(lines, ["a", "b", "c"])
    finally:
        delimited_module._BLOCK = whole
    assert table.num_rows == len(rows) + 1
    assert table.column("c").to_pylist()[1:] == [row[2] for row in rows]
    assert offsets[-1] == len(content)


@FAST
@given(data=st.data())
def test_extra_fields_leave_the_record_before_them_unchanged(tmp_path, data):
    header, records, rows = data.draw(delimited(","))
    source, target = tmp_path / "log.csv", tmp_path / "out.csv"
    source.write_bytes((header + "".join(records)).encode())
    scores = data.draw(st.lists(st.floats(0, 1), min_size=len(rows), max_size=len(rows)))
    reasons = data.draw(st.lists(TEXT, min_size=len(rows), max_size=len(rows)))
    log = read_log(str(source), LogSettings())
    write_rows(
        log,
        str(target),
        np.ones(len(rows), bool),
        extra={"noise_score": np.array(scores), "reason": pa.array(reasons)},
        force=True,
    )
    written = target.read_bytes().decode()
    expected_rows = [[*row, score, reason] for row, score, reason in zip(rows, scores, reasons, strict=True)]
    parsed = [row for row in csv.reader(io.StringIO(written.lstrip("\ufeff"), newline="")) if row]
    assert parsed[0] == ["user_id", "item_id", "note", "noise_score", "reason"]
    assert [[*row[:3], float(row[3]), row[4]] for row in parsed[1:]] == expected_rows
    position = 0
    for record in records:
        body = record.rstrip("\r\n")
        found = written.find(body + ",", position)
        assert found >= 0
        position = found + len(body)


@FAST
@given(data=st.data())
def test_extra_keys_go_into_each_object(tmp_path, data):
    header, records, objects = data.draw(json_lines())
    source, target = tmp_path / "log.jsonl", tmp_path / "out.jsonl"
    source.write_bytes((header + "".join(records)).encode())
    flags = np.array(data.draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records))))
    log = read_log(str(source), LogSettings())
    write_rows(log, str(target), np.ones(len(records), bool), extra={"keep": flags}, force=True)
    text = target.read_bytes().decode().lstrip("\ufeff")
    written = [json.loads(line) for line in text.split("\n") if line.strip()]
    assert written == [{**record, "keep": bool(flag)} for record, flag in zip(objects, flags, strict=True)]
    for record in records:
        assert record.rstrip()[:-1] in text


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-be", "shift_jis", "utf-8-sig"])
def test_other_encodings_come_back_byte_for_byte(tmp_path, encoding):
    name = "表,能" if encoding == "shift_jis" else "caf\u00e9" if encoding != "utf-8-sig" else "\u2603"
    header, rows = "user_id,item_id,name\r\n", [f'1,{n},"{name}"\r\n' for n in range(4)]
    source, target = tmp_path / "log.csv", tmp_path / "out.csv"
    source.write_bytes((header + "".join(rows)).encode(encoding))
    log = read_log(str(source), LogSettings(encoding=encoding))
    assert log.column("name").to_pylist() == [name] * 4
    assert log.column_names == ["user_id", "item_id", "name"]
    write_rows(log, str(target), np.array([1, 3]))
    assert target.read_bytes() == (header + rows[1] + rows[3]).encode(encoding)


def test_old_mac_line_endings(tmp_path):
    source, target = tmp_path / "log.csv", tmp_path / "out.csv"
    source.write_bytes(b'user_id,item_id\r1,"a\rb"\r2,c\r')
    log = read_log(str(source), LogSettings())
    assert isinstance(log.records, DelimitedRecords)
    assert log.item_ids().to_pylist() == ["a\rb", "c"]
    write_rows(log, str(target), np.array([False, True]))
    assert target.read_bytes() == b"user_id,item_id\r2,c\r"


def test_a_very_long_field_is_read(tmp_path):
    source = tmp_path / "log.csv"
    long = '"' + "x" * 200_000 + '"'
    source.write_text(f"user_id,item_id,text\n1,2,{long}\n")
    assert len(read_log(str(source), LogSettings()).column("text")[0].as_py()) == 200_000
    assert csv.field_size_limit() == 131072


def test_pandas_reads_the_filtered_file_with_its_index(tmp_path):
    import pandas as pd

    source, target = tmp_path / "log.parquet", tmp_path / "out.parquet"
    frame = pd.DataFrame({"user_id": [1, 2, 3], "item_id": ["a", "b", None]}, index=pd.Index([7, 8, 9], name="n"))
    frame.to_parquet(source)
    log = read_log(str(source), LogSettings(null_ids="keep"))
    write_rows(log, str(target), np.array([0, 2]), extra={"noise_score": np.array([0.5, np.nan])})
    expected = frame.iloc[[0, 2]].assign(noise_score=[0.5, np.nan])
    pd.testing.assert_frame_equal(pd.read_parquet(target), expected)


@pytest.mark.parametrize("first", [b"1,a\n", b'1,"a"\n'])
def test_a_byte_order_mark_stays_when_the_first_row_goes(tmp_path, first):
    source, target = tmp_path / "log.csv", tmp_path / "out.csv"
    source.write_bytes(b"\xef\xbb\xbf" + first + b"2,b\n")
    log = read_log(str(source), LogSettings(header=False, columns="user_id,item_id"))
    write_rows(log, str(target), np.array([1]))
    assert target.read_bytes() == b"\xef\xbb\xbf2,b\n"


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=True))
def test_every_format_gives_back_every_row_or_refuses(tmp_path_factory, kind, target, random):
    outcome = conserve(tmp_path_factory.mktemp("log"), random, kind, target)
    assert (outcome.lost, outcome.added, outcome.changed) == (0, 0, 0)


@pytest.mark.parametrize(
    ("array", "name", "found"),
    [
        (pa.array([2**62, 0], pa.timestamp("us")), "out.csv", "a time outside the years 1 to 9999"),
        (pa.array([-(2**63), 0], pa.timestamp("ms", "+05:30")), "out.jsonl", "a time outside the years 1 to 9999"),
        (pa.array([2**31 - 1, None], pa.date32()), "out.tsv", "a time outside the years 1 to 9999"),
        (pa.array([[2**62], None], pa.list_(pa.timestamp("us"))), "out.jsonl", "a time outside the years 1 to 9999"),
        (pa.array(["a\0b", None]), "out.csv", "a NUL character"),
        (pa.array([b"a\0b", None], pa.binary_view()), "out.csv", "a NUL character"),
        (pa.array([b"\xff", b""]), "out.csv", "bytes that are not UTF-8 text"),
        (pa.array([{"b": b"\xff"}, None]), "out.jsonl", "bytes that are not UTF-8 text"),
        (pa.array([math.inf, 1.5], pa.float16()), "out.jsonl", "an infinite number"),
        (pa.array([[[-math.inf]], None]), "out.jsonl", "an infinite number"),
        (pa.array([[1], None]), "out.csv", "list<element: int64> values"),
        (pa.array([[(1, 2)], None], pa.map_(pa.int8(), pa.int8())), "out.tsv", "map<int8, int8 ('x')> values"),
    ],
)
def test_what_a_text_format_cannot_hold_is_refused_before_any_work(tmp_path, array, name, found):
    pq.write_table(pa.table({"user_id": [1, 2], "item_id": [1, 2], "x": array}), tmp_path / "log.parquet")
    log = read_log(str(tmp_path / "log.parquet"), LogSettings())
    for attempt in (
        lambda: check_rows(log, str(tmp_path / name)),
        lambda: write_rows(log, str(tmp_path / name), np.zeros(2, bool)),
    ):
        with pytest.raises(OutputError) as caught:
            attempt()
        formats = "JSON" if name.endswith("jsonl") else "CSV and TSV"
        assert caught.value.message == f'Column "x" of {log.name} holds {found}, which {formats} cannot hold.'
        assert caught.value.hint.startswith("Write to a .parquet ")
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


@pytest.mark.parametrize(
    ("value", "name", "found", "formats"),
    [
        ('"\\ud800"', "out.csv", "half of a surrogate pair", "Parquet, CSV and TSV"),
        ('"\\ud800"', "out.parquet", "half of a surrogate pair", "Parquet, CSV and TSV"),
        ('{"a": {}}', "out.parquet", "an object without a key", "Parquet"),
        ('"\\u0000"', "out.tsv", "a NUL character", "CSV and TSV"),
    ],
)
def test_what_only_json_holds_is_refused(tmp_path, value, name, found, formats):
    source = tmp_path / "log.jsonl"
    source.write_text(f'{{"user_id": 1, "item_id": 2, "x": {value}}}\n')
    log = read_log(str(source), LogSettings())
    with pytest.raises(OutputError) as caught:
        check_rows(log, str(tmp_path / name))
    assert caught.value.message == f'Column "x" of {log.name} holds {found}, which {formats} cannot hold.'
    assert ".jsonl" in caught.value.hint
    write_rows(log, str(tmp_path / "out.jsonl"), np.ones(1, bool))
    assert (tmp_path / "out.jsonl").read_bytes() == source.read_bytes()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(allow_infinity=False), TEXT, ID),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=4,
)


@FAST
@given(values=st.lists(st.one_of(JSON, st.sampled_from([1, "1", "NaN", {}, {"a": 1}, {"a": None}])), max_size=4))
def test_values_of_json_come_back_from_parquet(tmp_path, values):
    source, target = tmp_path / "log.jsonl", tmp_path / "out.parquet"
    source.write_text("".join(json.dumps({"user_id": 1, "item_id": 2, "x": each}) + "\n" for each in [*values, None]))
    try:
        write_rows(read_log(str(source), LogSettings()), str(target), np.ones(len(values) + 1, bool), force=True)
    except OutputError as error:
        assert re.search("cannot tell|without a key", error.message)
        return
    column = pq.read_table(target).column("x")
    as_text = pa.types.is_large_string(column.type) and not all(isinstance(each, str | None) for each in values)
    for value, found in zip([*values, None], column.to_pylist(), strict=True):
        again = found
        if as_text and found is not None:
            with suppress(ValueError):
                again = json.loads(found)
            again = found if isinstance(again, str | None) else again
        assert isinstance(again, str) == isinstance(value, str)
        assert from_json(value, again)


@pytest.mark.parametrize(
    ("values", "string", "row"),
    [
        (['"x"', "1", '"1"'], "1", 3),
        (["true", '"[]"', '"x"'], "[]", 2),
        (["1", '"x"', "null"], None, None),
        (["1", "true", "[2]"], None, None),
        (['"1"', '"2"', "null"], None, None),
        (['"null"', '"\\"1\\""', "1"], None, None),
    ],
)
def test_strings_that_read_as_other_values_stay_in_json(tmp_path, values, string, row):
    source = tmp_path / "log.jsonl"
    source.write_text("".join(f'{{"user_id": 1, "item_id": 2, "x": {value}}}\n' for value in values))
    log, parts = read_log(str(source), LogSettings()), open_parts(str(source), LogSettings(), Silent())
    for check in (partial(check_rows, log), partial(check_writing, parts, extra={})):
        check(target=str(tmp_path / "out.csv"))
        check(target=str(tmp_path / "out.jsonl"))
        if string is None:
            check(target=str(tmp_path / "out.parquet"))
            continue
        with pytest.raises(OutputError) as caught:
            check(target=str(tmp_path / "out.parquet"))
        assert caught.value.message == (
            f'Column "x" of {source} holds strings and other values, and in row {row} (line {row}) the string '
            f'"{string}", which Parquet cannot tell from {string}.'
        )
        assert ".jsonl" in caught.value.hint


@pytest.mark.parametrize(
    ("values", "as_text"),
    [
        (['{"a": 1}', "{}"], True),
        (['[{"a": 1}, {"b": 2}]', "[]"], True),
        (['{"a": 1}', '{"a": null}'], False),
        (["[NaN, 1]", "[0.5]"], False),
        (['{"b": 1, "a": [{"c": 2}]}', '{"a": [], "b": 2}'], False),
    ],
)
def test_objects_with_different_keys_are_text_in_parquet(tmp_path, values, as_text):
    source, target = tmp_path / "log.jsonl", tmp_path / "out.parquet"
    source.write_text("".join(f'{{"user_id": 1, "item_id": 2, "x": {value}}}\n' for value in [*values, "null"]))
    write_rows(read_log(str(source), LogSettings()), str(target), np.ones(len(values) + 1, bool))
    found = pq.read_table(target).column("x")
    assert pa.types.is_large_string(found.type) == as_text
    if as_text:
        assert found.to_pylist() == [*values, None]


def test_old_96_bit_times_beyond_2262_come_back(tmp_path):
    source, target = tmp_path / "log.parquet", tmp_path / "out.parquet"
    times = pa.array([datetime(9999, 12, 31, 23, 59, 59, 999999), None], pa.timestamp("us"))
    table = pa.table(
        {"user_id": [1, 2], "item_id": [3, 4], "until": times, "since": pa.array([0, 1], pa.timestamp("us"))}
    )
    pq.write_table(table, source, use_deprecated_int96_timestamps=True, store_schema=False)
    write_rows(read_log(str(source), LogSettings()), str(target), np.ones(2, bool))
    written = pq.read_table(target)
    assert written.column("until").combine_chunks().equals(times)
    assert written.schema.field("since").type == pa.timestamp("ns")


FAR, NEAR = datetime(9999, 12, 31, 23, 59, 59, 999999), datetime(1900, 1, 1, 0, 0, 0, 1)
OF_TIMES = {
    "struct": ([{"until": FAR}, {"until": None}, None], pa.struct({"until": pa.timestamp("us")})),
    "list": ([[NEAR, None, FAR], None, []], pa.list_(pa.timestamp("us"))),
    "map": ([[("a", FAR)], None, []], pa.map_(pa.string(), pa.timestamp("us"))),
    "deep": ([[{"x": [FAR]}], None, [{"x": [NEAR]}]], pa.list_(pa.struct({"x": pa.list_(pa.timestamp("us"))}))),
}  # fmt: skip


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize("case", OF_TIMES)
def test_old_96_bit_times_in_structs_and_lists_come_back(tmp_path, case, in_parts):
    source, target, lines = (tmp_path / name for name in ("log.parquet", "out.parquet", "out.jsonl"))
    values = pa.array(*OF_TIMES[case])
    near = pa.array([{"until": NEAR}] * 3)
    rows = {"user_id": [1, 2, 3], "item_id": [4, 5, 6], "a": values, "near": near, "a.until": [7, 8, 9]}
    pq.write_table(pa.table(rows), source, use_deprecated_int96_timestamps=True, store_schema=False, row_group_size=2)
    for output in (target, lines):
        if in_parts:
            parts = open_parts(str(source), LogSettings(), Silent())
            with writing(parts, str(output), {}, force=False) as write:
                for piece in parts.pieces():
                    write(piece, np.ones(piece.records.num_rows, bool), {})
        else:
            write_rows(read_log(str(source), LogSettings()), str(output), np.ones(3, bool))
    written = pq.read_table(target)
    assert written.column("a").to_pylist() == values.to_pylist()
    assert written.column("a.until").to_pylist() == [7, 8, 9]
    assert written.schema.field("near").type.field("until").type == pa.timestamp("ns")
    assert lines.read_text().count("9999-12-31T23:59:59.999999") == 1


@pytest.mark.parametrize("nanos", [-(2**63) + 1, -(2**63) + 999, 2**63 - 1, 2**63 - 808, 1, -1])
def test_old_96_bit_times_that_fit_nanoseconds_keep_them(tmp_path, nanos):
    source, target = tmp_path / "log.parquet", tmp_path / "out.parquet"
    times = pa.array([nanos, None], pa.timestamp("ns"))
    table = pa.table({"user_id": [1, 2], "item_id": [3, 4], "at": times})
    pq.write_table(table, source, use_deprecated_int96_timestamps=True, store_schema=False)
    write_rows(read_log(str(source), LogSettings(time_column="none")), str(target), np.ones(2, bool))
    assert pq.read_table(target).column("at").combine_chunks().equals(times)


def test_string_views_come_back(tmp_path):
    source, target = tmp_path / "log.parquet", tmp_path / "out.parquet"
    values = ["a", "b", "a string too long to stand in the view itself"]
    ids, views = pa.array(values, pa.string_view()), pa.array([None, *values[1:]], pa.string_view())
    table = pa.table({"user_id": [1, 2, 3], "item_id": ids, "title": views, "x": [[1], None, []]})
    pq.write_table(table, source)
    log = read_log(str(source), LogSettings())
    for keep in ([True, False, True], [False, True, False], [False, False, False]):
        write_rows(log, str(target), np.array(keep), force=True)
        rows = np.flatnonzero(keep).tolist()
        assert pq.read_table(target).to_pylist() == [table.to_pylist()[row] for row in rows]
        assert pq.read_schema(target).equals(table.schema)


def test_values_that_json_spells_otherwise(tmp_path):
    source, target = tmp_path / "log.parquet", tmp_path / "out.jsonl"
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16)))
    table = pa.table(
        {
            "user_id": [1],
            "item_id": uuids,
            "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
            "blob": pa.array([b"ab"], pa.binary(2)),
            "spans": pa.array([[7, None]], pa.list_(pa.duration("us"))),
            "far": pa.array([[1]], pa.list_(pa.timestamp("ns", "UTC"))),
        }
    )
    pq.write_table(table, source)
    log = read_log(str(source), LogSettings())
    write_rows(log, str(target), np.ones(1, bool))
    assert json.loads(target.read_text()) == {
        "user_id": 1, "item_id": "30313233-3435-3637-3839-616263646566", "map": [["a", 1]], "blob": "ab",
        "spans": [7, None], "far": ["1970-01-01T00:00:00.000000001Z"],
    }  # fmt: skip


@pytest.mark.parametrize("cell", ["true", "1.5", "22.0", "inf"])
def test_ids_stay_ids_in_another_format(tmp_path, cell):
    source, target = tmp_path / "log.csv", tmp_path / "out.parquet"
    source.write_text(f"user_id,item_id,x\n{cell},{cell},{cell}\n")
    write_rows(read_log(str(source), LogSettings()), str(target), np.ones(1, bool))
    again = read_log(str(target), LogSettings())
    assert again.user_ids().to_pylist() == again.item_ids().to_pylist() == [cell]


def test_infinity_in_text_stays_text(tmp_path):
    source, target = tmp_path / "log.csv", tmp_path / "out.jsonl"
    source.write_text("user_id,item_id,x\n1,2,inf\n1,3,0.5\n")
    write_rows(read_log(str(source), LogSettings()), str(target), np.ones(2, bool))
    assert [json.loads(line)["x"] for line in target.read_text().splitlines()] == ["inf", "0.5"]


def test_a_first_name_that_begins_like_a_byte_order_mark(tmp_path):
    source, target = tmp_path / "log.parquet", tmp_path / "out.csv"
    pq.write_table(pa.table({"\ufeffx": ["\ufeff"], "user_id": [1], "item_id": [2]}), source)
    write_rows(read_log(str(source), LogSettings()), str(target), np.ones(1, bool))
    assert read_log(str(target), LogSettings()).column_names == ["\ufeffx", "user_id", "item_id"]


def test_lists_with_numbers_beyond_64_bits(tmp_path):
    source, target = tmp_path / "log.jsonl", tmp_path / "out.parquet"
    source.write_text(f'{{"user_id": 1, "item_id": 2, "x": [{2**70}]}}\n')
    write_rows(read_log(str(source), LogSettings()), str(target), np.ones(1, bool))
    assert pq.read_table(target).column("x").to_pylist() == [f"[{2**70}]"]
