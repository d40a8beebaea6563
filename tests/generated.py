"""Generated logs of every kind, and what has to hold of them when their rows are given back.

`conserve` writes a generated log in two parts and compares what is in the files with what was generated, read by
Arrow's, the `csv` and the `json` module alone. `tests/logs/test_conservation.py` runs it on a few logs,
`benchmarks/conservation.py` on thousands.
"""

import csv
import gzip
import io
import json
import math
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zstandard
from written import write_rows

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, OutputError
from iadsr_cli.logs.reader import read_log
from iadsr_cli.logs.writer import check_rows

KINDS = ("parquet", "csv", "tsv", "jsonl")
PIECES = [
    *"aB09 ,;|\t\"'\\\n\r{[<",
    "\r\n",
    "é",
    "Ł",
    "\U0001f600",
    "\ufeff",
    "\u2028",
    "\x1f",
    "null",
    "NaN",
    "-0",
    "e5",
]
PLAIN = ["007", "1.50", "true", "inf", "nan", "0x1", "+1", "1e400", "None", "2020-01-01", "9223372036854775808"]
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


# Values.


@dataclass(frozen=True)
class Moment:
    """A point in time: nanoseconds since 1970, and whether it has a zone. A date is its midnight."""

    ns: int
    zoned: bool = False


@dataclass(frozen=True)
class Clock:
    """A time of day, in nanoseconds."""

    ns: int


@dataclass(frozen=True)
class Single:
    """A number of fewer bits than a double's, which few digits spell."""

    value: float
    type: type


def _text(random: Random) -> str:
    if random.random() < 0.2:
        return random.choice(PLAIN)
    return "".join(random.choice(PIECES) for _ in range(random.choice([0, 1, 1, 2, 3, 5])))


def _whole(random: Random, bits: int, signed: bool) -> int:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    edges = [low, high, 0, 1, low + 1, high - 1, min(high, 2**53 + 1)]
    return random.choice(edges) if random.random() < 0.5 else random.randint(low, high)


def _real(random: Random) -> float:
    edges = [0.0, -0.0, 1.0, 0.1, 1e21, 1e16, 5e-324, 1.7e308, math.nan, math.nan, -1.5, 16777217.0, 2.0**53]
    if random.random() < 0.03:
        return random.choice([math.inf, -math.inf])
    return random.choice(edges) if random.random() < 0.5 else random.uniform(-1e6, 1e6)


def _instant(random: Random, unit: str) -> int:
    if random.random() < 0.02:
        return _whole(random, 64, True)
    if unit == "ns":
        return random.choice([0, 1, -1, random.randint(-(2**62), 2**62)])
    return _milliseconds(random) * 10**6 // NANOSECONDS[unit]


def _milliseconds(random: Random) -> int:
    return random.randint(-60 * 10**9, 240 * 10**9) * 1000 + random.randint(0, 999)


def _bytes(random: Random) -> bytes:
    return random.choice([b"", b"a", "\u00e9".encode(), b'"\n', b"x\ty"] * 8 + [b"\xff", b"\x00"])


def _decimal(random: Random, digits: int, scale: int) -> Decimal:
    number = random.randint(-(10**digits) + 1, 10**digits - 1)
    return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -scale))


def _many(of: Callable[[Random], Any], most: int = 3) -> Callable[[Random], list[Any]]:
    return lambda random: [of(random) for _ in range(random.randint(0, most))]


def _maybe(of: Callable[[Random], Any]) -> Callable[[Random], Any]:
    return lambda random: None if random.random() < 0.2 else of(random)


def _temporal() -> dict[str, tuple[pa.DataType, Callable[[Random], Any]]]:
    made: dict[str, tuple[pa.DataType, Callable[[Random], Any]]] = {}
    for unit in NANOSECONDS:
        # Parquet has no seconds: they become milliseconds, and have to fit.
        def of(random: Random, unit: str = unit) -> int:
            return _milliseconds(random) // 1000 if unit == "s" else _instant(random, unit)

        made[f"naive_{unit}"] = (pa.timestamp(unit), of)
        made[f"zoned_{unit}"] = (pa.timestamp(unit, "Europe/Paris" if unit != "ms" else "+05:30"), of)
        made[f"span_{unit}"] = (pa.duration(unit), lambda random: _whole(random, 50, True))
    return made


# What Parquet columns may be: the type, and how a value of it (before Arrow gets it) is made.
COLUMNS: dict[str, tuple[pa.DataType, Callable[[Random], Any]]] = {
    **{
        f"{'' if signed else 'u'}int{bits}": (
            getattr(pa, f"{'' if signed else 'u'}int{bits}")(),
            lambda random, bits=bits, signed=signed: _whole(random, bits, signed),
        )
        for bits in (8, 16, 32, 64)
        for signed in (True, False)
    },
    "float16": (pa.float16(), lambda random: np.float16(random.choice([0.1, -0.0, 1, 65504, math.nan]))),
    "float32": (pa.float32(), lambda random: float(np.float32(max(-3e38, min(3e38, _real(random)))))),
    "float64": (pa.float64(), _real),
    "decimal32": (pa.decimal32(6, 2), lambda random: _decimal(random, 6, 2)),
    "decimal128": (pa.decimal128(20, 9), lambda random: _decimal(random, 20, 9)),
    "decimal256": (pa.decimal256(60, 0), lambda random: _decimal(random, 60, 0)),
    "flag": (pa.bool_(), lambda random: random.random() < 0.5),
    "string": (pa.string(), _text),
    "large_string": (pa.large_string(), _text),
    "string_view": (pa.string_view(), _text),
    "with_nul": (pa.string(), lambda random: "a\0b" if random.random() < 0.1 else _text(random)),
    "binary": (pa.binary(), _bytes),
    "large_binary": (pa.large_binary(), _bytes),
    "fixed_binary": (pa.binary(2), lambda random: random.choice([b"ab"] * 20 + [b"\n,", b"\xff\xfe"])),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), lambda random: random.choice(["a", "b,c", ""])),
    "numbers": (pa.dictionary(pa.int32(), pa.int64()), lambda random: random.choice([1, 2**62])),
    "day": (pa.date32(), lambda random: random.randint(-(10**6), 10**6)),
    "day64": (pa.date64(), lambda random: random.randint(-(10**6), 10**6) * 86_400_000),
    "clock_s": (pa.time32("s"), lambda random: random.randint(0, 86_399)),
    "clock_ms": (pa.time32("ms"), lambda random: random.randint(0, 86_399_999)),
    "clock_us": (pa.time64("us"), lambda random: random.randint(0, 86_399_999_999)),
    "clock_ns": (pa.time64("ns"), lambda random: random.randint(0, 86_399_999_999_999)),
    "list": (pa.list_(pa.int64()), _many(_maybe(lambda random: _whole(random, 64, True)))),
    "large_list": (pa.large_list(pa.string()), _many(_maybe(_text))),
    "fixed_list": (pa.list_(pa.float32(), 2), lambda random: [0.1, float(np.float32(random.random()))]),
    "lists": (pa.list_(pa.list_(pa.float64())), _many(_many(_maybe(_real)))),
    "moments": (pa.list_(pa.timestamp("ns")), _many(_maybe(lambda random: _instant(random, "ns")))),
    "struct": (
        pa.struct({"x": pa.int16(), "when": pa.timestamp("ms", "UTC"), "b": pa.binary(), "far": pa.duration("us")}),
        lambda random: {"x": _whole(random, 16, True), "when": _milliseconds(random), "b": b"b", "far": 7},
    ),
    "prices": (pa.list_(pa.decimal128(9, 2)), _many(lambda random: _decimal(random, 9, 2))),
    "map": (pa.map_(pa.string(), pa.int64()), lambda random: [(key, 1) for key in random.sample("abc", 2)]),
    "uuid": (pa.uuid(), lambda random: random.randbytes(16)),
    "nothing": (pa.null(), lambda random: None),
    **_temporal(),
}  # fmt: skip


def _array(type: pa.DataType, values: list[Any]) -> pa.Array:
    if isinstance(type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type, pa.array(values, type.storage_type))
    if pa.types.is_dictionary(type):
        return pa.array(values, type.value_type).dictionary_encode().cast(type)
    return pa.array(values, type)


def _column(random: Random, type: pa.DataType, of: Callable[[Random], Any], size: int) -> pa.Array:
    missing = random.choice([0, 0, 0.3, 1])
    return _array(type, [None if random.random() < missing else of(random) for _ in range(size)])


def _ids(random: Random, size: int, of: Callable[[Random], Any]) -> list[Any]:
    """Return ids as logs have them: some again, all the same, or all different."""
    pool = [of(random) for _ in range(random.choice([1, 2, size]))]
    return [random.choice(pool) for _ in range(size)]


# Logs.


@dataclass(frozen=True)
class Generated:
    """A log: the file's content, how it is read, and what is in it.

    `columns` are neutral values by name. For text, `records` are the records as they stand, after `header`, in
    `encoding`; for Parquet, `table` is what was written.
    """

    kind: str
    suffix: str
    content: bytes
    settings: LogSettings
    columns: dict[str, list[Any]]
    header: str = ""
    records: tuple[str, ...] = ()
    table: pa.Table | None = None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(next(iter(self.columns.values())))


def _repeats(random: Random, size: int, large: bool) -> list[int]:
    """Return which of `size` rows come, some of them twice; seldom one user's thousands of them, unless `large`."""
    if random.random() < 0.01 and not large:
        return list(range(size)) * (2000 // size)
    return [*range(size), *range(random.choice([0, 0, size]))]


def parquet_log(random: Random) -> Generated:
    """Return a Parquet log of a few columns of random types."""
    size = random.choice([1, 2, 3, 6])
    columns: dict[str, pa.Array] = {}
    for name in ("user_id", "item_id"):
        kind = random.choice(["int64", "uint64", "string", "dictionary", "int32", "large_string", "binary"])
        type, of = COLUMNS[kind]
        values = _ids(random, size, (lambda _: b"id") if kind == "binary" else of)
        columns[name] = _array(type, [None if random.random() < 0.05 else value for value in values])
    if random.random() < 0.5:
        type, of = COLUMNS[random.choice(["int64", "float64", "naive_ns", "zoned_us", "day", "string"])]
        columns["timestamp"] = _column(random, type, of, size)
    # Those of 96 bits have no zone, and Arrow writes no year of seven digits right.
    old_times = random.random() < 0.1 and "timestamp" not in columns
    for kind in random.sample(sorted(COLUMNS), random.randint(0, 5)):
        if old_times and (kind in {"moments", "struct"} or kind.endswith(("e_ms", "d_ms", "e_us", "d_us"))):
            continue
        columns[kind] = _column(random, *COLUMNS[kind], size)
    large = random.random() < 0.01
    if large:
        columns["title"] = pa.array(['é"\n,x' * 200_000] * size)
    if random.random() < 0.1:
        columns["\ufeff" + _text(random) + "x"] = pa.array(range(size))
    order = list(columns)
    random.shuffle(order)
    schema = pa.schema(
        [pa.field(name, columns[name].type, metadata={"unit": name}) for name in order], metadata={"origin": "a test"}
    )
    table = pa.table([columns[name] for name in order], schema=schema)
    rows = _repeats(random, size, large)
    table = pa.concat_tables([table.slice(row, 1) for row in rows]).unify_dictionaries()
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression=random.choice(["none", "snappy", "gzip", "zstd", "lz4", "brotli"]),
        row_group_size=random.choice([1, 2, 10_000]) if len(table) < 100 else 1000,
        use_dictionary=random.random() < 0.5,
        store_schema=random.random() < 0.9,
        use_deprecated_int96_timestamps=old_times or None,
    )
    settings = LogSettings(null_ids="keep")
    values = {name: neutral(table.column(name).combine_chunks()) for name in order}
    if old_times:
        values = {
            name: [replace(value, zoned=False) if isinstance(value, Moment) else value for value in column]
            for name, column in values.items()
        }
    return Generated("parquet", "", sink.getvalue(), settings, values, table=table)


CELLS: tuple[Callable[[Random], str], ...] = (
    _text,
    lambda random: str(_whole(random, 64, True)),
    lambda random: repr(_real(random)),
    lambda random: random.choice(["true", "false", ""]),
    lambda random: random.choice(["4.0", "1.5", "", "0.25"]),
    lambda random: random.choice(["2020-01-01T00:00:00Z", "2020-01-31 12:00"]),
    lambda random: random.choice(["1", "2", ""]),
    lambda random: random.choice(PLAIN),
)


def delimited_log(random: Random, kind: str) -> Generated:
    """Return a CSV or TSV log: any quoting, line endings, blank lines, byte order mark, encoding, delimiter."""
    size = random.choice([1, 2, 3, 6])
    delimiter = random.choice([None, None, None, ";", "|"])
    separator = delimiter or {"csv": ",", "tsv": "\t"}[kind]
    encoding = random.choice(["utf-8"] * 6 + ["latin-1", "utf-16", "utf-16-be", "cp1252"])
    named = random.random() < 0.8
    names = ["user_id", "item_id"] + [f"x{number}" for number in range(random.randint(0, 4))]
    if named:
        names += [name for name in ("timestamp", "title", "a" + _text(random)) if random.random() < 0.3]
    random.shuffle(names)
    cells: dict[str, list[str]] = {}
    large = "title" in names and random.random() < 0.02
    for name in names:
        of = random.choice(CELLS) if name not in {"user_id", "item_id"} else random.choice(CELLS[:2])
        cells[name] = _ids(random, size, of) if name.endswith("_id") else [of(random) for _ in range(size)]
        if name == "title" and large:
            cells[name] = ['é"\n,x' * 200_000] * size
    if encoding in {"latin-1", "cp1252"}:
        names = [_within(name, encoding) for name in names]
        cells = {
            name: [_within(cell, encoding) for cell in column]
            for name, column in zip(names, cells.values(), strict=True)
        }
    quoting = random.choice([0, 0, 0.5, 1])

    def line(fields: list[str]) -> str:
        written = []
        for field in fields:
            odd = any(character in field for character in separator + '"\r\n') or field.startswith("\ufeff")
            written.append('"' + field.replace('"', '""') + '"' if odd or random.random() < quoting else field)
        return separator.join(written) + random.choice(["\n", "\r\n"])

    header = random.choice(["", "", "\ufeff"]) if encoding.startswith("utf") else ""
    if encoding == "utf-16":
        header = "\ufeff"
    if named:
        header += line(names)
    rows = _repeats(random, size, large)
    lines = {row: line([cells[name][row] for name in names]) for row in range(size)}
    records = [lines[row] + random.choice(["", "", "", "\n", "\r\n\n"]) for row in rows]
    if random.random() < 0.3:
        records[-1] = records[-1].rstrip("\r\n")
    settings = LogSettings(
        null_ids="keep",
        delimiter=delimiter,
        encoding=encoding,
        header=named,
        columns=None if named else ",".join(names),
    )
    codec = "utf-16-le" if encoding == "utf-16" else encoding
    suffix, compress = _compression(random)
    content = compress((header + "".join(records)).encode(codec))
    values = {name: [cells[name][row] for row in rows] for name in names}
    return Generated(kind, suffix, content, settings, values, header, tuple(records))


def _within(text: str, encoding: str) -> str:
    return text.encode(encoding, "ignore").decode(encoding)


def _compression(random: Random) -> tuple[str, Callable[[bytes], bytes]]:
    return random.choice([("", bytes), (".gz", gzip.compress), (".zst", zstandard.compress)])


JSON_VALUES: tuple[Callable[[Random], Any], ...] = (
    _text,
    lambda random: _whole(random, 64, True),
    lambda random: _whole(random, random.choice([64, 70, 200]), True),
    _real,
    lambda random: random.choice([1, 0.5, 2**60]),
    lambda random: random.random() < 0.5,
    lambda random: random.choice([1, "1", True, None, [1], {"a": 1}]),
    _many(lambda random: _whole(random, random.choice([8, 64, 70]), True)),
    _many(_text),
    _many(lambda random: random.choice([1, 0.5, True, "a", None, 2**60, math.nan, math.inf])),
    lambda random: {key: random.choice([1, None, "é"]) for key in random.sample("abc", random.randint(0, 3))},
    _many(lambda random: {"k": [_real(random)], "m": {}} if random.random() < 0.1 else {"k": [_real(random)]}),
    lambda random: "\ud800" + _text(random) if random.random() < 0.2 else _text(random),
    lambda random: "a\0" if random.random() < 0.2 else "b",
)


def json_log(random: Random) -> Generated:
    """Return a JSON Lines log: any values, keys that are not in every object, any white space."""
    size = random.choice([1, 2, 3, 6])
    of = {name: random.choice([_text, JSON_VALUES[1], JSON_VALUES[2]]) for name in ("user_id", "item_id")}
    for number in range(random.randint(0, 4)):
        of[random.choice([f"x{number}", _text(random) + str(number)])] = random.choice(JSON_VALUES)
    if random.random() < 0.3:
        of["timestamp"] = random.choice(JSON_VALUES[:4])
    absent = random.choice([0, 0, 0.3])
    objects = []
    for _ in range(size):
        keys = [name for name in of if name.endswith("_id") or random.random() >= absent]
        random.shuffle(keys)
        objects.append({key: None if random.random() < 0.1 else of[key](random) for key in keys})
    rows = _repeats(random, size, False)
    ascii_only = random.random() < 0.3
    texts = []
    for item in objects:
        text = json.dumps(item, ensure_ascii=ascii_only, separators=random.choice([(", ", ": "), (",", ":")]))
        texts.append(re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text))
    records = [texts[row] + random.choice(["\n", "\n", " \r\n", "\n\n"]) for row in rows]
    if random.random() < 0.3:
        records[-1] = records[-1].rstrip()
    header = random.choice(["", "", "\ufeff", "\n"])
    suffix, compress = _compression(random)
    content = compress((header + "".join(records)).encode())
    keys = dict.fromkeys(key for item in objects for key in json.loads(json.dumps(item)))
    values = {key: [objects[row].get(key) for row in rows] for key in keys}
    return Generated("jsonl", suffix, content, LogSettings(null_ids="keep"), values, header, tuple(records))


def generated_log(random: Random, kind: str) -> Generated:
    """Return a log of a format."""
    if kind == "parquet":
        return parquet_log(random)
    return json_log(random) if kind == "jsonl" else delimited_log(random, kind)


# What a value is, whatever the type and the format that hold it.


def neutral(array: pa.Array) -> list[Any]:
    """Return an Arrow array's values without its types: moments, clocks, numbers, texts, lists, dictionaries."""
    type = array.type
    if isinstance(type, pa.BaseExtensionType):
        values = neutral(array.storage)
        return [str(uuid.UUID(bytes=v)) if v is not None and "uuid" in str(type) else v for v in values]
    if pa.types.is_dictionary(type):
        return neutral(array.dictionary_decode())
    if pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type):
        return [None if not item.is_valid else neutral(item.values) for item in array]
    if pa.types.is_map(type):
        pairs = [None if not item.is_valid else neutral(item.values) for item in array]
        return [None if pair is None else [[p["key"], p["value"]] for p in pair] for pair in pairs]
    if pa.types.is_struct(type):
        fields = {field.name: neutral(pc.struct_field(array, index)) for index, field in enumerate(type)}
        return [
            {name: values[row] for name, values in fields.items()} if item.is_valid else None
            for row, item in enumerate(array)
        ]
    if pa.types.is_timestamp(type):
        return [_and(v, lambda v: Moment(v * NANOSECONDS[type.unit], type.tz is not None)) for v in _integers(array)]
    if pa.types.is_date(type):
        scale = 86_400 * 10**9 if pa.types.is_date32(type) else 10**6
        return [_and(v, lambda v: Moment(v * scale)) for v in _integers(array)]
    if pa.types.is_time(type):
        return [_and(v, lambda v: Clock(v * NANOSECONDS[type.unit])) for v in _integers(array)]
    if pa.types.is_duration(type):
        return _integers(array)
    if pa.types.is_float16(type) or pa.types.is_float32(type):
        kind = np.float16 if pa.types.is_float16(type) else np.float32
        return [_and(v, lambda v: Single(float(v), kind)) for v in array.to_pylist()]
    if pa.types.is_string_view(type) or pa.types.is_binary_view(type):
        return list(array.to_pylist())
    return array.to_pylist()


def _integers(array: pa.Array) -> list[int | None]:
    narrow = pa.types.is_date32(array.type) or pa.types.is_time32(array.type)
    return array.view(pa.int32() if narrow else pa.int64()).to_pylist()


def _and(value: Any, made: Callable[[Any], Any]) -> Any:
    return None if value is None else made(value)


_ISO = re.compile(
    r"(-?\d{4,})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:(Z)|([+-])(\d\d):(\d\d))?)?"
)
_CLOCK = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?")


def moment(text: str) -> Moment | None:
    """Return what an ISO 8601 date or time says, in any year."""
    found = _ISO.fullmatch(text)
    if not found:
        return None
    year, month, day = map(int, found.group(1, 2, 3))
    # Days since 1970 of a date of the proleptic Gregorian calendar, which years of 400 repeat.
    shifted = np.datetime64(f"{year % 400 + 2000:04d}-{month:02d}-{day:02d}").astype(int)
    days = int(shifted) + (year - year % 400 - 2000) // 400 * 146_097
    hours, minutes, seconds = (int(part or 0) for part in found.group(4, 5, 6))
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if found[9]:
        total -= (1 if found[9] == "+" else -1) * (int(found[10]) * 60 + int(found[11])) * 60
    return Moment(total * 10**9 + int((found[7] or "").ljust(9, "0")), bool(found[8] or found[9]))


def clock(text: str) -> Clock | None:
    """Return what a time of day says."""
    found = _CLOCK.fullmatch(text)
    if not found:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.group(1, 2, 3))
    return Clock(((hours * 60 + minutes) * 60 + seconds) * 10**9 + int((found[4] or "").ljust(9, "0")))


def in_cell(value: Any, cell: str) -> bool:
    """Return whether a field of delimited text says `value`; null, NaN and the empty string are an empty field."""
    if value is None or _is_nan(value):
        return cell == ""
    if isinstance(value, bool):
        return cell == str(value).lower()
    if isinstance(value, int):
        return cell == str(value)
    if isinstance(value, (list, dict)):  # beside other types in JSON
        return in_json(value, _loads(cell))
    return _said(value, cell)


def _said(value: Any, text: str) -> bool:
    """Return whether a text says a value that is no integer, boolean or null."""
    if isinstance(value, str):
        return text == value
    if isinstance(value, bytes):
        return text.encode() == value
    if isinstance(value, Moment):
        return moment(text) == value
    if isinstance(value, Clock):
        return clock(text) == value
    try:
        if isinstance(value, Decimal):
            return Decimal(text) == value
        if isinstance(value, Single):
            return _same_float(float(value.type(text)), value.value)
        return _same_float(float(text), value)
    except (ValueError, ArithmeticError):
        return False


def _same_float(one: float, other: float) -> bool:
    return one == other and math.copysign(1, one) == math.copysign(1, other)


def _is_nan(value: Any) -> bool:
    number = value.value if isinstance(value, Single) else value
    return isinstance(number, float) and math.isnan(number)


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return object()


def in_json(value: Any, found: Any) -> bool:
    """Return whether a JSON value says `value`: null for NaN, text for what JSON has no form of."""
    if value is None or _is_nan(value):
        return found is None or _is_nan(found)
    if isinstance(value, (bool, int)):
        return type(found) is type(value) and found == value
    if isinstance(value, float):
        return isinstance(found, (int, float)) and not isinstance(found, bool) and float(found) == value
    if isinstance(value, Single):
        return isinstance(found, float) and found == value.value
    if isinstance(value, list):
        return (
            isinstance(found, list)
            and len(found) == len(value)
            and all(in_json(one, other) for one, other in zip(value, found, strict=True))
        )
    if isinstance(value, dict):
        return isinstance(found, dict) and all(in_json(value.get(key), found.get(key)) for key in {**value, **found})
    return isinstance(found, str) and _said(value, found)


def from_json(value: Any, found: Any) -> bool:
    """Return whether Parquet holds the JSON value `value`: as it is, or as text in a column of several types."""
    if isinstance(found, str) and not isinstance(value, str):
        return value is not None and (in_json(value, _loads(found)) or found == json.dumps(value, ensure_ascii=False))
    if isinstance(value, int) and isinstance(found, float):  # beside numbers with a fraction
        return found == value
    if isinstance(value, list) and isinstance(found, list):
        return len(value) == len(found) and all(map(from_json, value, found))
    if isinstance(value, dict) and isinstance(found, dict):
        return value.keys() == found.keys() and all(from_json(value[key], found[key]) for key in value)
    return in_json(value, found)


def _mistakable(value: Any) -> bool:
    """Return whether a value is a string that reads as a JSON value of another kind."""
    return isinstance(value, str) and isinstance(_loads(value), (int, float, list, dict))


def _infinite(value: Any) -> bool:
    return isinstance(value, (float, Single)) and math.isinf(getattr(value, "value", value))


def _beyond(value: Any) -> bool:
    return isinstance(value, Moment) and not -62_135_596_800 <= value.ns // 10**9 < 253_402_300_800


# Why a log may be refused, by words of the error; and whether a value gives reason to.
REASONS: dict[str, Callable[[Any], bool]] = {
    "NUL character": lambda value: isinstance(value, (str, bytes)) and "\\x00" in repr(value),
    "not UTF-8 text": lambda value: isinstance(value, bytes) and "\ufffd" in value.decode(errors="replace"),
    "infinite number": _infinite,
    "outside the years 1 to 9999": _beyond,
    "half of a surrogate pair": lambda value: isinstance(value, str) and bool(re.search("[\ud800-\udfff]", value)),
    "which Parquet cannot tell from": _mistakable,
    "an object without a key": lambda value: isinstance(value, dict),
    "which CSV and TSV cannot hold": lambda value: value is None or isinstance(value, (list, dict)),
}
UNREADABLE = (
    "has no time",
    "have no time",
    "is not a time",
    "is no number, as",
    "which cannot be times",
    "not a usable",
    "NUL byte",
)


def _inside(value: Any) -> Iterator[Any]:
    """Yield a value and all values in it."""
    yield value
    for inner in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from _inside(inner)


# The property.


@dataclass(frozen=True)
class Outcome:
    """What became of a log's rows; `refused` says by which of the `REASONS` it was not written."""

    rows: int = 0
    refused: str | None = None
    lost: int = 0
    added: int = 0
    changed: int = 0


def conserve(folder: Path, random: Random, kind: str, target: str) -> Outcome:
    """Write a generated log of format `kind` as `target` in two parts, kept and removed, and compare.

    Raises:
        AssertionError: anything else went wrong: an error without cause, a file left behind, a read-back that differs.
    """
    log = generated_log(random, kind)
    source = folder / f"log.{kind}{log.suffix}"
    source.write_bytes(log.content)
    settings = log.settings
    try:
        read = read_log(str(source), settings)
    except InputError as error:
        assert any(words in error.message for words in UNREADABLE), error
        settings = replace(settings, time_column="none")
        read = read_log(str(source), settings)
    assert read.num_rows == log.rows, (read.num_rows, log.rows)
    keep = np.array([random.random() < 0.7 for _ in range(log.rows)])
    suffix = "" if target == "parquet" else random.choice(["", ".gz", ".zst"])
    parts = []
    for name, selection in (("kept", keep), ("removed", ~keep)):
        path = folder / f"{name}.{target}{suffix}"
        path.unlink(missing_ok=True)
        try:
            write_rows(read, str(path), selection)
        except OutputError as error:
            return Outcome(refused=_reason(error, log, read, path))
        check_rows(read, str(path))
        parts.append((_content(path), selection))
    found = []
    for content, selection in parts:
        compare = _compare_own if target == kind else _compare_other
        found.append(compare(log, content, selection, target))
    if kind != target and log.records:
        _check_way_back(folder, log, f"kept.{target}{suffix}", keep)
    return Outcome(
        log.rows, None, sum(o.lost for o in found), sum(o.added for o in found), sum(o.changed for o in found)
    )


def _reason(error: OutputError, log: Generated, read: Any, path: Path) -> str:
    reason = next((words for words in REASONS if words in error.message), None)
    assert reason is not None, error
    concerned = [
        values
        for name, values in log.columns.items()
        if OutputError(f'Column "{name}" of', "").message in error.message
    ]
    assert any(map(REASONS[reason], _inside([*log.columns, *concerned]))), error
    assert not path.exists()
    assert not list(path.parent.glob(".*")), "a draft was left"
    try:
        check_rows(read, str(path))
    except OutputError as early:
        assert early.message == error.message
    else:
        raise AssertionError(f"found out only when writing: {error}")
    return reason


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(content)
    return zstandard.ZstdDecompressor().decompressobj().decompress(content) if path.suffix == ".zst" else content


def _counted(expected: int, found: int, changed: int) -> Outcome:
    return Outcome(expected, None, max(0, expected - found), max(0, found - expected), changed)


def _compare_own(log: Generated, content: bytes, selection: np.ndarray, target: str) -> Outcome:
    """In its own format: the same bytes, or the same schema and values."""
    rows = int(selection.sum())
    if log.table is None:
        codec = "utf-16-le" if log.settings.encoding == "utf-16" else log.settings.encoding
        records = [record for record, one in zip(log.records, selection, strict=True) if one]
        expected = (log.header + "".join(records)).encode(codec)
        return _counted(rows, rows, int(content != expected))
    before, after = pq.ParquetFile(io.BytesIO(log.content)).read(), pq.ParquetFile(io.BytesIO(content)).read()
    # Old 96-bit times beyond the year 2262 only fit into a type of fewer digits, where Arrow alone would wrap them.
    wide = "INT96" in {column.physical_type for column in _leaves(log.content)}
    assert wide or after.schema.equals(before.schema, check_metadata=True)
    found = {name: neutral(after.column(name).combine_chunks()) for name in after.column_names}
    return _compared(log, selection, found, after.num_rows, lambda one, other: repr(one) == repr(other))


def _leaves(content: bytes) -> list[Any]:
    schema = pq.ParquetFile(io.BytesIO(content)).schema
    return [schema.column(index) for index in range(len(schema))]


def _compare_other(log: Generated, content: bytes, selection: np.ndarray, target: str) -> Outcome:
    """In another format: the same values, by the rules."""
    if target == "parquet":
        table = pq.ParquetFile(io.BytesIO(content)).read()
        found = {name: neutral(table.column(name).combine_chunks()) for name in table.column_names}
        same = from_json if log.kind == "jsonl" else lambda cell, value: in_cell(value, cell)
        for values in log.columns.values() if log.kind == "jsonl" else ():
            if {str} < {type(value) for value in values if value is not None}:
                assert not any(map(_mistakable, values))
        return _compared(log, selection, found, table.num_rows, same)
    if target == "jsonl":
        objects = [json.loads(line, parse_constant=_no_constant) for line in content.decode().split("\n") if line]
        found = {name: [item[name] for item in objects] for name in log.columns}
        same = in_json if log.kind == "parquet" else lambda cell, value: in_cell(value, cell)
        return _compared(log, selection, found, len(objects), same)
    text = content.decode()
    assert "\0" not in text
    assert not text.startswith("\ufeff")
    delimiter = {"csv": ",", "tsv": "\t"}[target]
    # The limit is the process's, and other tests look at it.
    limit = csv.field_size_limit(2**30)
    try:
        header, *records = [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row
        ]
    finally:
        csv.field_size_limit(limit)
    assert header == list(log.columns)
    found = dict(zip(header, zip(*records, strict=True), strict=True)) if records else {name: [] for name in header}
    same = (lambda one, other: one == other) if log.records and log.kind != "jsonl" else _said_in_cell
    return _compared(log, selection, found, len(records), same)


def _said_in_cell(value: Any, cell: str) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):  # beside numbers with a fraction
        return cell == str(value) or _said(float(value), cell)
    return in_cell(value, cell)


def _no_constant(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def _compared(
    log: Generated, selection: np.ndarray, found: dict[str, Any], rows: int, same: Callable[[Any, Any], bool]
) -> Outcome:
    assert list(found) == list(log.columns), (list(found), list(log.columns))
    numbers = np.flatnonzero(selection).tolist()
    wrong = {
        place
        for name, values in log.columns.items()
        for place, (row, value) in enumerate(zip(numbers, found[name], strict=False))
        if not same(values[row], value)
    }
    return _counted(len(numbers), rows, len(wrong))


def _check_way_back(folder: Path, log: Generated, written: str, keep: np.ndarray) -> None:
    """Text that went into another format comes back as it was."""
    if not keep.any() or log.kind == "jsonl":
        return
    roles = {"user_column": "user_id", "item_column": "item_id", "time_column": "none", "text_column": ("none",)}
    read = read_log(str(folder / written), LogSettings(null_ids="keep", **roles))
    back = folder / f"back.{log.kind}"
    write_rows(read, str(back), np.ones(read.num_rows, bool), force=True)
    outcome = _compare_other(log, back.read_bytes(), keep, log.kind)
    assert not outcome.lost + outcome.added + outcome.changed, (outcome, "on the way back")
