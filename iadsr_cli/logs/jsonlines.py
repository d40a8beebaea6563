"""The rows of a JSON Lines file: raw lines, parsed as often as columns are asked for."""

import ast
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError
from iadsr_cli.logs.formats import Format
from iadsr_cli.logs.records import Records
from iadsr_cli.logs.texts import WHOLE, Lines, Stretch, TextRecords, decoded, line_number, line_offsets

_DEEPEST = 32  # Arrow reads 100 levels, of which a list has two
_BLOCK = 1 << 16  # objects parsed before their values become Arrow arrays
_JSON_SPACE = " \t\r\n"


@dataclass(frozen=True, eq=False)
class JsonRecords(TextRecords):
    """Rows of a JSON Lines file: one object per line; `keys` are all their keys, in order of appearance.

    `kind_of` tells what the values of a column are where these are not all rows that decide it.
    """

    keys: tuple[str, ...]
    kind_of: Callable[[str], "Kind"] | None = None
    _texts: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    _kinds: dict[str, set[type]] = field(default_factory=dict)
    _halves: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, name: str, content: bytes, format: Format, settings: LogSettings) -> "JsonRecords":
        """Read a JSON Lines file's (decompressed) bytes.

        Raises:
            InputError: bytes that are not text in the encoding, NUL bytes, a line that is not a JSON object,
                an object with a key twice.
            UsageError: an unusable encoding.
        """
        text, encoding = decoded(name, content, settings.encoding)
        return cls.of_text(name, text, encoding, format)

    @classmethod
    def of_text(cls, name: str, text: bytes, encoding: str, format: Format, stretch: Stretch = WHOLE) -> "JsonRecords":
        """Read the text of a JSON Lines file, or a stretch of it, in UTF-8.

        A stretch whose columns are known has been read before, and is not checked again.

        Raises:
            InputError: as `read` does.
        """
        lines = Lines(name, text, line_offsets(text, lone_returns=False), before=stretch.lines)
        keys: dict[str, None] = dict.fromkeys(stretch.columns or ())
        starts = []
        for start, line in lines:
            if line.strip(_JSON_SPACE):
                starts.append(start)
                if stretch.columns is None:
                    keys.update(dict.fromkeys(_object(lines, start, line)))
        # Blank lines that belong to the last record may follow.
        offsets = starts if stretch.more and starts else [*starts, len(text)]
        return cls(name, format, text, np.array(offsets, np.int64), encoding, tuple(keys), stretch=stretch)

    @property
    def column_names(self) -> list[str]:
        """The columns: all keys, in order of appearance."""
        return list(self.keys)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column [rows], null where an object lacks the key.

        Its type is int64, float64, bool, large_string or, for lists and objects, what Arrow makes of them.
        A column that mixes types, or whose numbers no machine type holds exactly, is large_string: strings as
        they stand, everything else as JSON text.
        """
        return self.joined([self], name)

    @classmethod
    def joined(cls, files: Sequence[Records], name: str) -> pa.ChunkedArray:
        """Return one column of several files: what `column` would return were they one."""
        own = [file for file in files if isinstance(file, cls)]
        kinds: set[type] = set().union(*(file.kinds(name) for file in own))
        texts = cls.joined_texts(own, name)
        held = all(file.kind_of is None or file.kind_of(name).held for file in own)
        return _typed(texts, kinds) if held else texts

    @classmethod
    def joined_texts(cls, files: "Sequence[JsonRecords]", name: str) -> pa.ChunkedArray:
        """Return one column of several files, which is loaded, as text: strings as they stand, all else as JSON."""
        return pa.chunked_array([chunk for file in files for chunk in file._texts[name].chunks], pa.large_string())

    @property
    def halves(self) -> set[str]:
        """The loaded columns with an escaped half of a surrogate pair, which is no character."""
        return self._halves

    def kinds(self, name: str) -> set[type]:
        """Return the Python types of a column's values, null left out."""
        self.load([name])
        return self._kinds[name] if self.kind_of is None else set(self.kind_of(name).types)

    def kind(self, name: str) -> "Kind":
        """Return what these rows tell of a column's values."""
        self.load([name])
        return _kind(self._texts[name], self._kinds[name])

    def mistakable(self, name: str) -> int | None:
        """Return the first row of a column whose string reads as a value of another kind, as "1" does."""
        for row in range(self.num_rows):
            value = json.loads(self.record(row).decode()).get(name)
            if isinstance(value, str) and _reads_as_other(value):
                return row
        return None

    def load(self, names: Iterable[str]) -> None:
        """Parse several columns in one pass over the text."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._texts]
        if not wanted:
            return
        blocks: dict[str, list[pa.Array]] = {name: [] for name in wanted}
        kinds: dict[str, set[type]] = {name: set() for name in wanted}
        objects = (json.loads(self.record(row).decode()) for row in range(self.num_rows))
        while block := list(islice(objects, _BLOCK)):
            for name in wanted:
                values = [record.get(name) for record in block]
                kinds[name].update(map(type, values))
                texts, whole = _strings([_json_text(value) for value in values])
                blocks[name].append(texts)
                if not whole:
                    self._halves.add(name)
        for name in wanted:
            self._kinds[name] = kinds[name] - {type(None)}
            self._texts[name] = pa.chunked_array(blocks[name], pa.large_string())


@dataclass(frozen=True)
class Kind:
    """What the values of a column are.

    Attributes:
        types: their Python types, null left out.
        whole: whether each stretch of them fits the type for its own Python types.
        largest: the size of the largest number.
    """

    types: frozenset[type] = frozenset()
    whole: bool = True
    largest: float = 0.0

    def __or__(self, other: "Kind") -> "Kind":
        """Return what values are that are those of the one or of the other."""
        return Kind(self.types | other.types, self.whole and other.whole, max(self.largest, other.largest))

    @property
    def held(self) -> bool:
        """Whether the one type for their Python types holds all of them exactly."""
        return self.whole and (self.types != {int, float} or self.largest < 2**53)


def _kind(texts: pa.ChunkedArray, kinds: set[type]) -> Kind:
    """Return what a stretch of a column tells: its values as texts, and their Python types."""
    if kinds and kinds <= {int, float}:
        largest = pc.max(pc.abs(pc.cast(texts, pa.float64()))).as_py()
        # Whole numbers beyond 64 bits are no matter beside a fraction, where all that is large is not held.
        fits = kinds != {int} or pa.types.is_integer(_typed(texts, kinds).type)
        return Kind(frozenset(kinds), fits, 0.0 if math.isnan(largest) else largest)
    whole = kinds not in ({list}, {dict}) or not pa.types.is_large_string(_typed(texts, kinds).type)
    return Kind(frozenset(kinds), whole)


def _object(lines: Lines, start: int, line: str) -> dict[str, Any]:
    place = f"{lines.name}, line"
    try:
        value = _JSON.decode(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{place} {lines.before + line_number(lines.text, start)}: this is not valid JSON ({error}).",
            _instead(line),
        ) from error
    if not isinstance(value, dict):
        found = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
        raise InputError(
            f"{place} {lines.before + line_number(lines.text, start)}: expected a JSON object, "
            f"found {found.get(type(value), 'a number')}.",
            'Give one object per line, such as {"user_id": 1, "item_id": 2}; jq -c ".[]" makes that of a list.',
        )
    return value


def _instead(line: str) -> str:
    """Return what to do about a line that is not valid JSON."""
    if line.strip().startswith("[") or line.strip() == "{":
        return 'Give one JSON object per line; jq -c ".[]" makes that of a list over several lines, jq -c . of objects.'
    with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        # Where its quotes are JSON's, something else is wrong.
        if "'" in line and isinstance(ast.literal_eval(line.strip()), dict):
            return "It is a dict of Python: write each as JSON first, by json.dumps(ast.literal_eval(line))."
    return "Give one JSON object per line; say --format if the file is something else."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f'an object has the key "{twice}" twice')
    return record


_JSON = json.JSONDecoder(object_pairs_hook=_unique)


def _json_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _strings(values: list[str | None]) -> tuple[pa.Array, bool]:
    """Return strings as an array, and whether they are whole."""
    try:
        return pa.array(values, pa.large_string()), True
    except UnicodeEncodeError:
        # JSON can escape half of a surrogate pair, which is no character: it stays an escape.
        escaped = [value and value.encode("utf-8", "backslashreplace").decode() for value in values]
        return pa.array(escaped, pa.large_string()), False


def _reads_as_other(text: str) -> bool:
    try:
        return not isinstance(json.loads(text), str | None)
    except (ValueError, RecursionError):
        return False


def gives_back(column: pa.ChunkedArray, texts: pa.ChunkedArray) -> bool:
    """Return whether the values of a column are those of its JSON texts: Arrow's objects all have the same keys.

    Where they are nested so deeply that no Parquet file of them could be read, they are not.
    """
    types = [column.type]
    for _ in range(_DEEPEST):
        types = [type.field(number).type for type in types for number in range(type.num_fields)]
    if types:
        return False
    for start in range(0, len(texts), _BLOCK):
        values, written = (each.slice(start, _BLOCK).to_pylist() for each in (column, texts))
        if not all(text is None or _same(json.loads(text), value) for text, value in zip(written, values, strict=True)):
            return False
    return True


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 (NaN is not itself)


def _typed(texts: pa.ChunkedArray, kinds: set[type]) -> pa.ChunkedArray:
    """Return `texts` as the one type that holds all of them exactly; as they are where there is none."""
    try:
        if kinds == {int}:
            return pc.cast(texts, pa.int64())
        if kinds == {bool}:
            return pc.cast(texts, pa.bool_())
        if kinds in ({float}, {int, float}):
            numbers = pc.cast(texts, pa.float64())
            # An int beyond 2^53 beside a float would be rounded, 2^53 + 1 to 2^53 itself.
            if kinds == {float} or (pc.max(pc.abs(numbers)).as_py() or 0) < 2**53:
                return numbers
        if kinds in ({list}, {dict}):
            values = [None if text is None else json.loads(text) for text in texts.to_pylist()]
            return pa.chunked_array([pa.array(values)])
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        pass  # in lists, a number beyond 64 bits is an OverflowError
    return texts
