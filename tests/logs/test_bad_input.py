"""Bad input ends in one line that says what is wrong where, and one that says what to do."""

import bz2
import gzip
import io
import lzma
import shlex
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import IadsrError, InputError, UsageError, one_line
from iadsr_cli.logs.formats import headerless
from iadsr_cli.logs.parted_reader import fills_memory, open_parts
from iadsr_cli.logs.reader import read_items, read_log
from iadsr_cli.logs.table_parts import PartFile
from iadsr_cli.progress import Silent


def parquet(**columns):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


WHOLE = parquet(user_id=[1, 2], item_id=[3, 4])
ZSTD = zstandard.compress(b"user_id,item_id\n1,2\n" * 50)
GZIP = gzip.compress(b"user_id,item_id\n1,2\n" * 50)
HEADER = b"user_id,item_id,time\n"

# name, content, settings, error, part of the message, part of the hint
CASES = {
    "empty": ("a.csv", b"", {}, InputError, "a.csv is empty.", "at least one"),
    "blank": ("a.csv", b"\n\n", {}, InputError, "a.csv is empty.", "header"),
    "empty gzip": ("a.csv.gz", gzip.compress(b""), {}, InputError, "a.csv.gz is empty.", "at least one"),
    "header only": ("a.csv", b"user_id,item_id\n", {}, InputError, "a.csv has no rows.", "at least one"),
    "no json rows": ("a.jsonl", b"\n \n", {}, InputError, "a.jsonl has no rows.", "at least one"),
    "no parquet rows": (
        "a.parquet",
        parquet(user_id=pa.array([], pa.int64()), item_id=pa.array([], pa.int64())),
        {},
        InputError,
        "a.parquet has no rows.",
        "at least one",
    ),
    "cut parquet": ("a.parquet", WHOLE[:-9], {}, InputError, "a.parquet is not a readable Parquet", "cut off"),
    "empty parquet": ("a.parquet", b"", {}, InputError, "a.parquet is not a readable Parquet", "cut off"),
    "text as parquet": ("a.parquet", HEADER, {}, InputError, "a.parquet is not a readable Parq", "--format"),
    "parquet as text": ("a.csv", WHOLE, {}, InputError, "what is in it is Parquet", "--format parquet"),
    "gzip as text": ("a.csv", GZIP, {}, InputError, "taken for csv, but what is in it is gzip", ".gz"),
    "zstd as text": ("a.jsonl", ZSTD, {}, InputError, "taken for jsonl, but what is in it is zstd", ".zst"),
    "cut gzip": ("a.csv.gz", GZIP[:-4], {}, InputError, "a.csv.gz cannot be decompressed: its gzip", "again"),
    "cut zstd": ("a.csv.zst", ZSTD[:-4], {}, InputError, "a.csv.zst cannot be decompressed: its zstd", "again"),
    "not gzip": ("a.csv.gz", HEADER, {}, InputError, "a.csv.gz cannot be decompressed", "again"),
    "parquet in gzip": ("a.parquet.gz", GZIP, {}, UsageError, "is Parquet inside gzip", "compresses itself"),
    "short row": (
        "a.csv",
        HEADER + b"1,2,3\n\n4,5\n",
        {},
        InputError,
        "a.csv, line 4: expected 3 fields, found 2.",
        "in quotes",
    ),
    "long row": (
        "a.tsv",
        b'user_id\titem_id\n"1\n1"\t2\n3\t4\t5\n',
        {},
        InputError,
        "a.tsv, line 4: expected 2 fields, found 3.",
        "holds a tab",
    ),
    "open quote": (
        "a.csv",
        HEADER + b'1,2,3\n4,"5,6\n7,8,9\n',
        {},
        InputError,
        "a.csv, line 3: a quoted field begins here and never ends.",
        "written twice",
    ),
    "odd quote": (
        "a.csv",
        HEADER + b'1,"2"x,3\n',
        {},
        InputError,
        "a.csv, line 2: the quoting is broken",
        "written twice",
    ),
    "escaped quote": (
        "a.csv",
        HEADER + b'1,"6\\" pipe",3\n',
        {},
        InputError,
        "a.csv, line 2: the quoting is broken",
        r"""Here one is written \" instead: sed 's/\\"/""/g' mends that.""",
    ),
    "nul": ("a.csv", HEADER + b"1,2\0,3\n", {}, InputError, "a.csv, line 2: there is a NUL byte.", "UTF-16"),
    "latin-1": (
        "a.csv",
        HEADER + b"1,2,3\n4,caf\xe9,6\n",
        {},
        InputError,
        "a.csv, line 3: byte 0xe9 is not utf-8 text.",
        "--encoding latin-1",
    ),
    "not shift_jis": (
        "a.csv",
        HEADER + b"1,2,\x82",
        {"encoding": "shift_jis"},
        InputError,
        "a.csv, line 2: byte 0x82 is not shift_jis text.",
        "--encoding utf-8",
    ),
    "unknown encoding": (
        "a.csv",
        HEADER,
        {"encoding": "utf-9"},
        UsageError,
        '--encoding "utf-9" is no known encoding of files.',
        "latin-1",
    ),
    **{
        f"{encoding!r} as encoding": (
            "a.csv",
            HEADER,
            {"encoding": encoding},
            UsageError,
            f'--encoding "{one_line(encoding)}" is no known encoding of files.',
            "latin-1",
        )
        for encoding in ("base64", "idna", "punycode", "undefined", "a\0b")
    },
    "no way back": (
        "a.csv",
        HEADER + b"1,+AGE-,3\n",
        {"encoding": "utf-7"},
        InputError,
        "a.csv cannot be turned from utf-7 to text and back without a change.",
        "UTF-8",
    ),
    "same names": (
        "a.csv",
        b"user_id,item_id,x,x\n1,2,3,4\n",
        {},
        InputError,
        'a.csv has 2 columns named "x".',
        "Rename",
    ),
    "not json": (
        "a.jsonl",
        b'{"user_id": 1, "item_id": 2}\n\n{"user_id": 1,\n',
        {},
        InputError,
        "a.jsonl, line 3: this is not valid JSON",
        "one JSON object per line",
    ),
    "json list": (
        "a.jsonl",
        b'{"user_id": 1, "item_id": 2}\n[1, 2]\n',
        {},
        InputError,
        "a.jsonl, line 2: expected a JSON object, found a list.",
        "one object per line",
    ),
    "json number": ("a.jsonl", b"1\n", {}, InputError, "line 1: expected a JSON object, found a num", "object"),
    "json key twice": (
        "a.jsonl",
        b'{"user_id": 1, "item_id": 2, "item_id": 3}\n',
        {},
        InputError,
        'a.jsonl, line 1: this is not valid JSON (an object has the key "item_id" twice).',
        "one JSON object per line",
    ),
    "json key missing": (
        "a.jsonl",
        b'{"user_id": 1, "item_id": 2}\n{"item_id": 2}\n{"user_id": null, "item_id": 2}\n',
        {},
        InputError,
        '2 of 3 rows have no user id in column "user_id" of a.jsonl, the first is row 2 (line 2).',
        "--null-ids keep",
    ),
    "unknown column": (
        "a.csv",
        HEADER + b"1,2,3\n",
        {"user_column": "usr_id"},
        UsageError,
        'Column "usr_id" not found in a.csv.',
        'Candidates: "user_id"',
    ),
    "unknown text column": (
        "a.csv",
        HEADER + b"1,2,3\n",
        {"text_column": ("titel",)},
        UsageError,
        'Column "titel" not found in a.csv.',
        "Candidates:",
    ),
    "no user": (
        "a.csv",
        b"who,item_id\n1,2\n",
        {},
        UsageError,
        'No column of a.csv looks like the user column. Columns: "who", "item_id".',
        "--user-column",
    ),
    "two users": (
        "a.csv",
        b"session_id,user_id,item_id\n1,2,3\n",
        {},
        UsageError,
        '2 columns of a.csv could be the user column: "user_id", "session_id".',
        "--user-column user_id",
    ),
    "two items": (
        "a.csv",
        b"user_id,asin,parent_asin\n1,2,3\n",
        {},
        UsageError,
        'could be the item column: "parent_asin", "asin"',
        "--item-column parent_asin",
    ),
    "two times": (
        "a.csv",
        b"user_id,item_id,time,timestamp\n1,2,3,4\n",
        {},
        UsageError,
        'could be the time column: "timestamp", "time"',
        "or none, to use file order",
    ),
    "one column, two roles": (
        "a.csv",
        b"user_id,item_id\n1,2\n",
        {"item_column": "user_id"},
        UsageError,
        'Column "user_id" of a.csv cannot be the user and the item column at once.',
        "--item-column",
    ),
    "a list over several lines": (
        "a.json",
        b'[\n  {"user_id": 1, "item_id": 2},\n  {"user_id": 1, "item_id": 3}\n]\n',
        {},
        InputError,
        "a.json, line 1: this is not valid JSON",
        'jq -c ".[]" makes that of a list over several lines',
    ),
    "dicts of Python": (
        "a.json",
        b"{u'user_id': u'a', u'item_id': 7, 'early': True}\n",
        {},
        InputError,
        "a.json, line 1: this is not valid JSON",
        "It is a dict of Python: write each as JSON first, by json.dumps(ast.literal_eval(line)).",
    ),
    "semicolons": (
        "a.csv",
        b"user_id;item_id;time\n1;2;3\n",
        {},
        UsageError,
        'a.csv has a single column, "user_id;item_id;time".',
        "--delimiter ';'",
    ),
    "tabs": (
        "a.csv",
        b"user_id\titem_id\n1\t2\n",
        {},
        UsageError,
        r'a.csv has a single column, "user_id\titem_id".',
        r"--delimiter '\t'",
    ),
    "quoted otherwise": (
        "a.csv",
        b'"User-ID";"ISBN";"Rating, 1 to 5"\n"1";"2";"3"\n',
        {},
        UsageError,
        'a.csv has a single column, "User-ID;ISBN;Rating, 1 to 5".',
        "--delimiter ';'",
    ),
    "no header, and a value twice": (
        "a.csv",
        b"1,1,5,978300760\n1,661,3,978302109\n",
        {},
        InputError,
        'a.csv has 2 columns named "1".',
        "looks like a record, not like names: give it and its fields some with --no-header --columns",
    ),
    "commas": ("a.tsv", b"user_id,item_id\n1,2\n", {}, UsageError, "has a single column", "--delimiter ','"),
    "two colons": ("a.csv", b"user_id::item_id\n1::2\n", {}, UsageError, "has a single column", "--delimiter '::'."),
    "two colons, no header": (
        "a.csv",
        b"1::2::5\n",
        {"header": False, "columns": "user_id,item_id,rating"},
        UsageError,
        "--columns gives 3 names, but the first record of a.csv has 1 fields.",
        "separated by commas, or say what separates them: --delimiter '::'.",
    ),
    "unsaid delimiter": (
        "u.data",
        b"1\t2\n",
        {"header": False, "columns": "user_id,item_id"},
        UsageError,
        "What separates the fields of u.data cannot be told from its name.",
        r"Say it, as in --delimiter '\t', which its first line has.",
    ),
    "unsaid blanks": (
        "train.txt",
        b"1 2\n",
        {"header": False, "columns": "user_id,item_id"},
        UsageError,
        "What separates the fields of train.txt cannot be told from its name.",
        "Say it, as in --delimiter ' ', which its first line has.",
    ),
    "unsaid delimiter that is not seen": (
        "u.data",
        b"12\n",
        {"header": False, "columns": "user_id,item_id"},
        UsageError,
        "What separates the fields of u.data cannot be told from its name.",
        r"Say it, as in --delimiter '::' or --delimiter '\t'.",
    ),
    "long delimiter in a field": (
        "a.dat",
        b"user_id::item_id\n1::2\n1::a::b\n",
        {"delimiter": "::"},
        InputError,
        "a.dat, line 3: expected 2 fields, found 3.",
        'no field can hold "::"',
    ),
    "delimiter with a line break": ("a.csv", HEADER, {"delimiter": ",\n"}, UsageError, "cannot separate", "'::'"),
    "long quote": ("a.csv", HEADER, {"quote_char": "''"}, UsageError, "--quote-char \"''\" cannot quote", "or none"),
    "quote of no text": (
        "a.csv",
        HEADER,
        {"quote_char": "\udcff"},
        UsageError,
        r"--quote-char '\udcff' cannot",
        "none",
    ),
    "quote that separates": ("a.csv", HEADER, {"quote_char": ","}, UsageError, "--quote-char ',' cannot", "or none"),
    **{
        f"{encoding} that is marked": (
            "a.csv",
            (HEADER + b"1,2,3\n").decode().encode(encoding),
            {},
            InputError,
            "a.csv, line 1: byte 0xff is not utf-8 text.",
            f"such as --encoding {encoding}.",
        )
        for encoding in ("utf-16", "utf-32")
    },
    "utf-8 for utf-16": (
        "a.csv",
        HEADER + b"1,2,33\n",
        {"encoding": "utf-16"},
        InputError,
        "a.csv is not utf-16 text.",
        "--encoding utf-8",
    ),
    "null marker": (
        "a.csv",
        b"user_id,item_id\n1,2\nNA,3\n",
        {"null_values": r"\\N, NA"},
        InputError,
        '1 of 2 rows has no user id in column "user_id" of a.csv, the first is row 2 (line 3).',
        "--null-ids keep",
    ),
    "null marker for a time": (
        "a.csv",
        b"user_id,item_id,time\n1,2,3\n1,2,\\N\n",
        {"null_values": r"\N"},
        InputError,
        '1 of 2 rows has no time in column "time" of a.csv, the first is row 2 (line 3).',
        "--time-column none",
    ),
    "empty delimiter": ("a.csv", HEADER, {"delimiter": ""}, UsageError, "--delimiter '' cannot separate", "'::'"),
    "quote delimiter": ("a.csv", HEADER, {"delimiter": '"'}, UsageError, "cannot separate fields", "';'"),
    "no header, no names": (
        "a.csv",
        b"1,2,3\n",
        {"header": False},
        UsageError,
        "--no-header leaves the 3 columns of a.csv without names.",
        "--columns user_id,item_id",
    ),
    "no header, few names": (
        "a.csv",
        b"1,2,3\n",
        {"header": False, "columns": "user_id,item_id"},
        UsageError,
        "--columns gives 2 names, but the first record of a.csv has 3 fields.",
        'Give one name for each field, separated by commas, or let the list end with ",..." for the others.',
    ),
    "no header, many names": (
        "a.csv",
        b"1,2,3\n",
        {"header": False, "columns": "user_id,item_id,x,y,..."},
        UsageError,
        "--columns gives 4 names, but the first record of a.csv has 3 fields.",
        "Give one name for each field, separated by commas.",
    ),
    "no header, the number of a field as a name": (
        "a.csv",
        b"1,2,3\n",
        {"header": False, "columns": "user_id,column_3,..."},
        InputError,
        '--columns has 2 columns named "column_3".',
        "Rename all but one",
    ),
    "no record to number the fields of": (
        "a.csv",
        b"",
        {"header": False, "columns": "user_id,item_id,..."},
        UsageError,
        '"..." at the end of --columns stands for the other fields of a record, and a.csv has none.',
        "Name all columns",
    ),
    "names and a header": (
        "a.csv",
        HEADER + b"1,2,3\n",
        {"columns": "user_id,item_id,x"},
        UsageError,
        "--columns names the columns of a file without a header",
        "--no-header",
    ),
    "empty id": (
        "a.csv",
        HEADER + b'1,"a\nb",3\n4,,6\n7,8,9\n',
        {},
        InputError,
        '1 of 3 rows has no item id in column "item_id" of a.csv, the first is row 2 (line 4).',
        "--null-ids keep",
    ),
    "null id": (
        "a.parquet",
        parquet(user_id=[1.0, None, float("nan")], item_id=[1, 2, 3]),
        {},
        InputError,
        '2 of 3 rows have no user id in column "user_id" of a.parquet, the first is row 2.',
        "--null-ids keep",
    ),
    "fraction": (
        "a.parquet",
        parquet(user_id=[1.0, 1.5], item_id=[1, 2]),
        {},
        InputError,
        'a.parquet, row 2: 1.5 in column "user_id" is not a usable user id.',
        "--user-column",
    ),
    "boolean ids": (
        "a.parquet",
        parquet(user_id=[True, False], item_id=[1, 2]),
        {},
        InputError,
        'Column "user_id" of a.parquet holds bool values, which cannot be user ids.',
        "--user-column",
    ),
    "list ids": (
        "a.parquet",
        parquet(user_id=[1, 2], item_id=[[1], [2]]),
        {},
        InputError,
        'Column "item_id" of a.parquet holds list<element: int64> values, which cannot be item ids.',
        "Make a row of each element of the lists first, or name another column with --item-column",
    ),
    "mixed json ids": (
        "a.jsonl",
        b'{"user_id": 1, "item_id": 2}\n{"user_id": [1], "item_id": 2}\n',
        {},
        InputError,
        'Column "user_id" of a.jsonl holds list values, which cannot be user ids.',
        "--user-column",
    ),
    "missing time": (
        "a.csv",
        HEADER + b"1,2,3\n4,5, \n",
        {},
        InputError,
        '1 of 2 rows has no time in column "time" of a.csv, the first is row 2 (line 3).',
        "--time-column none",
    ),
    "infinite time": (
        "a.parquet",
        parquet(user_id=[1, 2], item_id=[1, 2], time=[1.0, float("inf")]),
        {},
        InputError,
        '1 of 2 rows has no time in column "time" of a.parquet, the first is row 2.',
        "--time-column none",
    ),
    "nan time in text": (
        "a.csv",
        HEADER + b"1,2,3\n4,5,nan\n",
        {},
        InputError,
        'no time in column "time" of a.csv, the first is row 2 (line 3).',
        "--time-column none",
    ),
    "bad time": (
        "a.csv",
        HEADER + b"1,2,2020-01-01\n4,5,yesterday\n",
        {},
        InputError,
        'a.csv, row 2 (line 3): "yesterday" in column "time" is not a time.',
        "--time-column none",
    ),
    "no number among times": (
        "a.csv",
        HEADER + b"1,2,1700000001\n4,5,NULL\n7,8,1700000002.5\n7,9,1700000004\n",
        {},
        InputError,
        'a.csv, row 2 (line 3): "NULL" in column "time" is no number, as 3 of 4 times are.',
        "--time-column none",
    ),
    "numbers of all kinds among times": (
        "a.csv",
        HEADER + b"1,2,1700000001\n4,5,1.7e9\n7,8,.5\n7,8,+3.\n7,9,oops\n",
        {},
        InputError,
        'a.csv, row 5 (line 6): "oops" in column "time" is no number, as 4 of 5 times are.',
        "--time-column none",
    ),
    "numbers for names in Parquet": (
        "a.parquet",
        parquet(**{"0": [1, 2], "1": [3, 4]}),
        {},
        UsageError,
        'No column of a.parquet looks like the user column. Columns: "0", "1".',
        "Name it with --user-column.",
    ),
    "a comma among times": (
        "a.csv",
        HEADER + b'1,2,1700000001\n4,5,"1700000002,5"\n7,8,1700000002\n',
        {},
        InputError,
        'a.csv, row 2 (line 3): "1700000002,5" in column "time" is no number, as 2 of 3 times are.',
        "--decimal ','",
    ),
    "no header": (
        "a.tsv",
        b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n",
        {},
        UsageError,
        'No column of a.tsv looks like the user column. Columns: "196", "242", "3", "881250949".',
        "--no-header --columns",
    ),
    "no header, and a time and a UUID": (
        "plays.tsv",
        b"user_000001\t2009-05-04T23:08:57Z\tf1b1cf71-bd35-4e99-8624-24a6e15f133a\tDeep Dish\t\tFuck Me Im Famous\n"
        * 2,
        {},
        UsageError,
        "No column of plays.tsv looks like the user column.",
        "The first line looks like a record, not like names: give it and its fields some with --no-header --columns",
    ),
    "lines that head others": (
        "combined_data_1.csv",
        b"1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n2:\n885013,4,2005-10-19\n",
        {},
        InputError,
        "combined_data_1.csv, line 2: expected 1 fields, found 3.",
        "A line of 1 field stands above others of 3: if it heads them, write what it says into each",
    ),
    "lines that head others, and names": (
        "combined_data_1.csv",
        b"1:\n" + b"1488844,3,2005-09-06\n" * 900,
        {"header": False, "columns": "user_id,rating,time"},
        UsageError,
        "--columns gives 3 names, but the first record of combined_data_1.csv has 1 fields.",
        "A line of 1 field stands above others of 3",
    ),
    "lines of a user each": (
        "train.txt",
        b"0 0 1 2 3\n1 4 2\n2 7 8 9 1 0\n3 1\n",
        {"delimiter": " "},
        InputError,
        'train.txt has 2 columns named "0".',
        "Its first lines have from 2 to 6 fields: a line does not seem to be one interaction. Write a line for each",
    ),
    "lines of a user each, after a header": (
        "train.txt",
        b"user items\n0 0\n1 4 2\n2 7 8 9 1 0\n3 1 8\n",
        {"delimiter": " "},
        InputError,
        "train.txt, line 3: expected 2 fields, found 3.",
        "Its first lines have from 2 to 6 fields: a line does not seem to be one interaction.",
    ),
    "lines of a user each, and names": (
        "train.txt",
        b"0 0 1 2 3\n1 4 2\n2 7 8 9 1 0\n3 1\n",
        {"delimiter": " ", "header": False, "columns": "user_id,item_id"},
        UsageError,
        "--columns gives 2 names, but the first record of train.txt has 5 fields.",
        "a line does not seem to be one interaction",
    ),
    "a few odd lines": (
        "a.csv",
        HEADER + b"1,2,3\n" * 30 + b"1,2\n1,2,3,4\n",
        {},
        InputError,
        "a.csv, line 32: expected 3 fields, found 2.",
        "Mend the line",
    ),
    "bad date among dates": (
        "a.csv",
        HEADER + b"1,2,31/01/2020\n4,5,32/01/2020\n",
        {},
        InputError,
        'a.csv, row 2 (line 3): "32/01/2020" in column "time" is not a time like the others (%d/%m/%Y).',
        "--time-column none",
    ),
    "boolean times": (
        "a.parquet",
        parquet(user_id=[1, 2], item_id=[1, 2], time=[True, False]),
        {},
        InputError,
        'Column "time" of a.parquet holds bool values, which cannot be times.',
        "none for file order",
    ),
    "unknown extension": (
        "a.xlsx",
        HEADER,
        {},
        UsageError,
        "The format of a.xlsx cannot be told from its name.",
        ".parquet",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_message(tmp_path, monkeypatch, case):
    name, content, settings, kind, message, hint = CASES[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IadsrError) as caught:
        read_log(name, LogSettings(**settings))
    assert type(caught.value) is kind
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message
    assert "\n" not in caught.value.hint


@pytest.mark.parametrize(
    "value",
    [
        *(
            "196",
            "-1.5",
            "3,5",
            "2009-05-04",
            "2009-05-04T23:08:57Z",
            "2010-10-19 23:55:27+02:00",
            "2012/3/4",
            "3/4/12",
        ),
        *("03/04/2012 10:15", "31.01.2024", "23:08:57", "Tue Apr 03 18:00:09 +0000 2012", "29/Oct/2020:13:00:00 +0000"),
        *("f1b1cf71-bd35-4e99-8624-24a6e15f133a", "4bf58dd8d48988d1e0931735", "0123456789ABCDEF"),
    ],
)
def test_what_is_no_name_of_a_column(value):
    assert headerless(["a", f" {value} "], "log.csv")
    assert headerless(["a", value], "log.parquet") is None


@pytest.mark.parametrize(
    "name",
    [
        "user",
        "user_000001",
        "2nd",
        "top-10",
        "title (2012)",
        "time: UTC",
        "ratio 1:n",
        "deadbeefdeadbeef",
        "a1b2c3",
        "v1.2.3",
        "",
    ],
)
def test_what_may_be_one(name):
    assert headerless([name], "log.csv") is None


PLAIN = HEADER + b"1,2,3\n" * 50


def archived(kind: str) -> bytes:
    """A log as a file of a kind that is not read."""
    made = io.BytesIO()
    if kind in {"zip", "xlsx"}:
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("[Content_Types].xml" if kind == "xlsx" else "ratings.csv", PLAIN)
    elif kind in {"tar", "tar.gz"}:
        with tarfile.open(fileobj=made, mode="w:gz" if kind == "tar.gz" else "w") as archive:
            member = tarfile.TarInfo("ratings.csv")
            member.size = len(PLAIN)
            archive.addfile(member, io.BytesIO(PLAIN))
    else:
        heads = {"7z": b"7z\xbc\xaf\x27\x1c\0\4", "xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"}
        made.write({"bz2": bz2.compress, "xz": lzma.compress}.get(kind, heads.get(kind, b"").__add__)(PLAIN))
    return made.getvalue()


ARCHIVES = {
    "zip": ("a zip archive", "unzip"),
    "bz2": ("compressed by bzip2", "bunzip2"),
    "xz": ("compressed by xz", "unxz"),
    "7z": ("a 7z archive", "7z x"),
    "tar": ("a tar archive", "tar -xf"),
    "tar.gz": ("a tar archive", "tar -xf"),
    "xlsx": ("a spreadsheet", None),
    "xls": ("a spreadsheet", None),
}


@pytest.mark.parametrize("format", ["auto", "csv", "jsonl", "parquet"])
@pytest.mark.parametrize("kind", ARCHIVES)
def test_what_has_to_be_unpacked_first(tmp_path, monkeypatch, kind, format):
    monkeypatch.chdir(tmp_path)
    what, how = ARCHIVES[kind]
    (tmp_path / "logs").mkdir()
    # Neither the name nor what is said of the format hides it.
    for name in (f"my ratings.{kind}", "ratings.csv", f"logs/ratings.csv.{kind}", "logs"):
        if name != "logs":
            (tmp_path / name).write_bytes(archived(kind))
        if kind == "tar.gz" and (format != "auto" or name == "ratings.csv"):
            continue
        for read in (read_log, fills_memory, lambda source, used: open_parts(source, used, Silent())):
            if (format, name) == ("auto", "ratings.csv") and read is fills_memory:
                continue
            with pytest.raises(InputError) as caught:
                read(name, LogSettings(format=format))
            shown = "logs/ratings.csv." + kind if name == "logs" else name
            assert caught.value.message == f"{shown} is {what}, which is not read."
            wanted = f"Unpack it first: {how} {shlex.quote(Path(shown).name)}."
            assert caught.value.hint == (wanted if how else "Export its sheet as CSV first.")


@pytest.mark.parametrize("kind", ARCHIVES)
def test_what_has_to_be_unpacked_before_it_comes_through_a_pipe(monkeypatch, kind):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(archived(kind))))
    with pytest.raises(InputError) as caught:
        read_log("-", LogSettings())
    assert caught.value.message == f"standard input is {ARCHIVES[kind][0]}, which is not read."
    through = {"zip": "unzip -p", "bz2": "bzip2 -dc", "xz": "xz -dc", "7z": "7z x -so"}.get(kind, "tar -xO")
    how = ARCHIVES[kind][1]
    assert caught.value.hint == (
        f"Unpack it before the pipe: {through} FILE." if how else "Export its sheet as CSV first."
    )


def test_missing_file_names_a_near_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs.csv").touch()
    with pytest.raises(InputError) as caught:
        read_log("log.csv", LogSettings())
    assert caught.value.message == "log.csv does not exist."
    assert caught.value.hint == "Did you mean logs.csv?"
    with pytest.raises(InputError) as caught:
        read_log("elsewhere/log.csv", LogSettings())
    assert caught.value.hint == "There is no folder elsewhere."
    with pytest.raises(InputError) as caught:
        read_log("unheard-of.parquet", LogSettings())
    assert caught.value.hint == "Check the path."


def test_missing_file_of_an_unknown_kind(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_log(str(tmp_path / "logs"), LogSettings())


def test_name_that_no_file_can_have(tmp_path):
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        read_log(str(tmp_path / ("x" * 300)), LogSettings())


def test_parquet_with_two_columns_of_one_name(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 3, names=["user_id", "item_id", "item_id"]), path)
    with pytest.raises(InputError, match='has 2 columns named "item_id"'):
        read_log(str(path), LogSettings())


def test_null_ids_are_kept_when_asked(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id,item_id\n1,\n,2\n3,4\n")
    log = read_log(str(path), LogSettings(null_ids="keep"))
    assert log.user_ids().to_pylist() == ["1", None, "3"]
    assert log.item_ids().to_pylist() == [None, "2", "4"]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        ("item_id,x\n1,2\n", {}, 'No column of items.csv is used as text. Columns: "item_id", "x".'),
        ("item_id,title\n1,2\n", {"text_column": ("none",)}, "No column of items.csv is used as text."),
        ("x,title\n1,2\n", {}, "No column of items.csv looks like the item column."),
        ("x,title\n1,2\n", {"item_column": "y"}, 'Column "y" not found in items.csv.'),
        ("id,ID,title\n1,2,3\n", {}, "No column of items.csv looks like the item column."),
        ("item_id,title\n1,2\n", {"item_column": "y"}, 'Column "y" not found in items.csv.'),
    ],
)
def test_items_file_without_its_columns(tmp_path, monkeypatch, content, settings, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "items.csv").write_text(content)
    with pytest.raises(UsageError) as caught:
        read_items("items.csv", LogSettings(**settings))
    assert message in caught.value.message
    if "text_column" in settings:
        assert caught.value.hint == "Leave out --text-column none, or --items to use no text."


@pytest.mark.parametrize(
    ("value", "found"), [({"a": 1}, "struct<a: int64> values"), (b"\xff", "text that is not UTF-8")]
)
def test_text_that_is_not_text(tmp_path, value, found):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"user_id": [1], "item_id": [1], "title": [value]}), path)
    with pytest.raises(InputError, match=rf'"title" of .* holds {found}, which cannot be read as text'):
        read_log(str(path), LogSettings()).item_texts()


def test_line_numbers_count_every_kind_of_line_ending(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"user_id,item_id\r\n1,2\r3,4\n5\n")
    with pytest.raises(InputError, match="line 4: expected 2 fields, found 1"):
        read_log(str(path), LogSettings())


def test_order_is_int64(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("user_id,item_id,time\n1,2,3\n")
    order = read_log(str(path), LogSettings()).order()
    assert order is not None
    assert order.dtype == np.int64


def test_what_arrow_cannot_read_is_not_said_to_be_cut_off(tmp_path, monkeypatch):
    def refuse(*_):
        raise pa.ArrowNotImplementedError("Nested data conversions not implemented.\nAnd so on.")

    source = tmp_path / "a.parquet"
    source.write_bytes(WHOLE)
    for name in ("read", "read_row_group", "iter_batches"):
        monkeypatch.setattr(pq.ParquetFile, name, refuse)
    for read in (lambda: read_log(str(source), LogSettings()), lambda: list(PartFile(source, None, {}).tables(None))):
        with pytest.raises(InputError) as caught:
            read()
        said = f"{source} is not a readable Parquet file: Nested data conversions not implemented."
        assert caught.value.message == said
        assert caught.value.hint == "Arrow cannot read all that is in it: write it with other types or compression."
