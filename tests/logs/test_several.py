"""A folder or a pattern is one log: its files in order, given back each as it was, or put together in one."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from written import write_rows

from iadsr_cli import artifacts
from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, OutputError, UsageError
from iadsr_cli.logs import writer
from iadsr_cli.logs.files import is_several, lies_in, log_files, partition_values, passed_over, would_hold
from iadsr_cli.logs.folders import MARKER, check_folder_target, check_outside, is_folder_target
from iadsr_cli.logs.parted_reader import open_parts
from iadsr_cli.logs.reader import read_items, read_log
from iadsr_cli.logs.writer import drafted_folder
from iadsr_cli.progress import Silent

HEADER = "user_id,item_id,time\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(files):
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            pq.write_table(pa.table(content), path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    }


# Which files.


def test_files_of_a_folder_come_in_the_order_of_their_paths():
    make(dict.fromkeys(["logs/b.csv", "logs/a/z.csv", "logs/a-1.csv", "logs/c.csv.gz"], ""))
    assert [str(path) for path in log_files("logs")] == ["logs/a/z.csv", "logs/a-1.csv", "logs/b.csv", "logs/c.csv.gz"]
    assert log_files("logs/b.csv") == [Path("logs/b.csv")]
    assert log_files("none.csv") == [Path("none.csv")]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("logs/2024-*.csv", ["2024-01.csv", "2024-02.csv"]),
        ("logs/**/*.csv", ["2023-12.csv", "2024-01.csv", "2024-02.csv", "more/x.csv"]),
        ("l*s/more", ["more/x.csv"]),
        ("logs/202[34]-1*", ["2023-12.csv"]),
    ],
)
def test_files_of_a_pattern(pattern, names):
    make(dict.fromkeys(["logs/2024-02.csv", "logs/2024-01.csv", "logs/2023-12.csv", "logs/more/x.csv"], ""))
    assert [path.relative_to("logs").as_posix() for path in log_files(pattern)] == names


def test_a_file_whose_name_looks_like_a_pattern_is_a_file():
    make({"log[1].csv": HEADER + "1,2,3\n", "log1.csv": ""})
    assert not is_several("log[1].csv")
    assert read_log("log[1].csv", LogSettings()).num_rows == 1
    assert not is_several("-")


def test_what_is_hidden_or_begins_with_an_underscore_is_passed_over():
    hidden = ["logs/_SUCCESS", "logs/.a.csv.crc", "logs/_tmp/a.csv", "logs/.git/config"]
    make(dict.fromkeys([*hidden, "logs/a.csv"], ""))
    assert log_files("logs") == [Path("logs/a.csv")]
    assert [str(path) for path in passed_over("logs")] == sorted(hidden)
    assert [str(path) for path in passed_over("logs/*")] == ["logs/.a.csv.crc", "logs/.git/config", "logs/_SUCCESS",
                                                            "logs/_tmp/a.csv"]  # fmt: skip
    assert passed_over("logs/a.csv") == []


def test_links_to_folders_are_followed_once():
    files = ["logs/day=2/b.csv", "elsewhere/c.csv", "elsewhere/more/d.csv", "elsewhere/_tmp/e.csv", "logs/_old/f.csv"]
    make(dict.fromkeys(files, ""))
    links = {"logs/a": "day=2", "logs/_b": "day=2", "logs/z": "../elsewhere", "logs/old": "_old",
             "logs/y": "../elsewhere/more"}  # fmt: skip
    loops = {"elsewhere/up": "../logs", "elsewhere/more/here": "."}
    found = ["logs/day=2/b.csv", "logs/old/f.csv", "logs/y/d.csv", "logs/z/c.csv"]
    # With loops, ** is glob's own to get out of, 40 links deep.
    for more, sources in ((links, ("logs", "logs/*", "logs/**/*.csv", "logs/**")), (loops, ("logs", "logs/*"))):
        for link, target in more.items():
            Path(link).symlink_to(target)
        for source in sources:
            assert [str(path) for path in log_files(source)] == found
            assert [str(path) for path in passed_over(source)] == ["logs/z/_tmp/e.csv"]
    assert [str(path) for path in log_files("logs/a/*")] == ["logs/a/b.csv"]


def test_links_to_folders_lead_outputs_into_the_log():
    make(dict.fromkeys(["logs/a.csv", "elsewhere/c.csv", "elsewhere/more/d.csv"], ""))
    Path("logs/z").symlink_to("../elsewhere")
    for source in ("logs", "logs/**/*.csv", "logs/*", "logs/*/*.csv"):
        for target in ("elsewhere/new.csv", "logs/z/new.csv"):
            assert would_hold(source, Path(target))
        assert not would_hold(source, Path("elsewhere/_new.csv"))
        assert not would_hold(source, Path("new.csv"))
        assert lies_in(source, Path("elsewhere"))
        assert not lies_in(source, Path("other"))
    assert would_hold("logs", Path("elsewhere"))
    assert would_hold("logs/**", Path("elsewhere/more/new"))
    assert not would_hold("logs/*.csv", Path("elsewhere/new.csv"))


@pytest.mark.parametrize("name", ["b.csv", "latest"])
def test_a_link_in_a_folder_that_leads_nowhere(name):
    make({"logs/a.csv": HEADER + "1,2,3\n"})
    Path("logs", name).symlink_to("gone.csv")
    for read in (read_log, partial(open_parts, reporter=Silent())):
        with pytest.raises(InputError) as caught:
            read("logs", settings=LogSettings())
        assert caught.value.message == f"logs/{name} is a link that leads nowhere."
        assert caught.value.hint == "Mend the link, or remove it."


@pytest.mark.parametrize(
    ("files", "source", "message", "hint"),
    [
        ([], "logs", "logs holds no files.", "Give a folder"),
        (["logs/_a.csv", "logs/.b"], "logs", "logs holds no files: 2 that begin with . or _ are passed over.", "Give"),
        (
            ["logs/a.log", "logs/b.log", "logs/c"],
            "logs",
            "logs holds no file of a known format: 2 .log, 1 without an extension.",
            "Say what they are with --format csv, tsv, parquet or jsonl.",
        ),
        (
            ["logs/a.parquet", "logs/b.parquet", "logs/README.md"],
            "logs",
            "logs holds files of several formats: 2 .parquet, 1 .md.",
            "Choose those of one with a quoted pattern, such as 'logs/**/*.parquet'.",
        ),
        (["logs/a.csv", "logs/b.tsv.gz"], "logs", "several formats: 1 .csv, 1 .tsv.gz.", "'logs/**/*.csv'"),
        (["logs/a.csv"], "logs/*.parquet", "No file matches logs/*.parquet.", "logs holds 1 .csv; ** stands for"),
        ([], "none/*.csv", "No file matches none/*.csv.", "none is empty or not there"),
        (["logs/_delta_log/0.json", "logs/a.parquet"], "logs", "logs is a Delta Lake table, in which", "Export"),
    ],
)
def test_folders_that_are_no_log(files, source, message, hint):
    Path("logs").mkdir()
    make(dict.fromkeys(files, ""))
    with pytest.raises(InputError) as caught:
        log_files(source)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_format_that_is_said_needs_no_extensions():
    make(dict.fromkeys(["logs/part-0", "logs/part-1.txt"], ""))
    assert len(log_files("logs", "csv")) == 2


def test_a_folder_that_cannot_be_listed(monkeypatch):
    make({"logs/a.csv": ""})

    def refuse(_):
        raise PermissionError(13, "Permission denied", "logs")

    monkeypatch.setattr("iadsr_cli.logs.files.os.scandir", refuse)
    with pytest.raises(InputError, match="folder logs cannot be listed: Permission denied"):
        log_files("logs")


def test_a_pipe_in_a_folder_is_not_waited_for():
    make({"logs/a.csv": HEADER})
    os.mkfifo("logs/b.csv")
    with pytest.raises(InputError, match=r"logs/b\.csv is a pipe or a socket, and no file\.") as error:
        log_files("logs")
    assert error.value.hint == "Move it out of the folder."


def test_partition_values():
    path = Path("logs/day=2024-01-01/x/kind=a%2Fb/k=__HIVE_DEFAULT_PARTITION__/=1/f=1.parquet")
    assert partition_values(path, Path("logs")) == {"day": "2024-01-01", "kind": "a/b", "k": None}
    assert partition_values(Path("day=1/a.csv"), Path("day=1")) == {}
    assert partition_values(Path("day=/%C3%A9=1/a.csv"), Path()) == {"day": "", "é": "1"}


@pytest.mark.parametrize(("folder", "text"), [("a=x%00y", "x%00y"), ("%ff=1", "%ff"), ("a=\udcff", r"\udcff")])
def test_partitions_that_are_no_text_are_refused(folder, text):
    make({f"logs/{folder}/a.csv": HEADER + "1,x,30\n"})
    said = f'a.csv lies in a folder for "{text}", which is a NUL character or bytes that are not UTF-8 text.'
    for read in (read_log, partial(open_parts, reporter=Silent())):
        with pytest.raises(InputError) as caught:
            read("logs", settings=LogSettings())
        assert said in caught.value.message
        assert "Rename the folder" in caught.value.hint


# One log of them.


def test_rows_are_numbered_on_over_the_files():
    make({"logs/a.csv": HEADER + "1,x,30\n2,y,10\n", "logs/b.csv": HEADER, "logs/c.csv": HEADER + '1,"z",20'})
    log = read_log("logs", LogSettings())
    assert (log.name, str(log.format), log.num_rows) == ("logs", "csv", 3)
    assert log.column_names == ["user_id", "item_id", "time"]
    assert log.user_ids().to_pylist() == ["1", "2", "1"]
    assert log.item_ids().to_pylist() == ["x", "y", "z"]
    assert log.order().tolist() == [30, 10, 20]


def test_errors_say_which_file():
    make({"logs/a.csv": HEADER + "1,x,1\n", "logs/b.csv": HEADER + "1,x,1\n,y,2\n"})
    with pytest.raises(InputError) as caught:
        read_log("logs", LogSettings())
    assert "the first is row 2 (line 3) of b.csv." in caught.value.message
    make({"logs/b.csv": HEADER + "1,x\n"})
    with pytest.raises(InputError, match=r"^logs/b.csv, line 2: expected 3 fields, found 2"):
        read_log("logs", LogSettings())


@pytest.mark.parametrize("read", [read_log, lambda source, used: open_parts(source, used, Silent())])
def test_a_file_with_times_in_another_unit_is_named(read):
    make({"logs/a.csv": HEADER + "1,x,1700000000\n2,y,1700000001\n", "logs/b.csv": HEADER + "1,x,1700000000000\n"})
    with pytest.raises(InputError) as caught:
        read("logs", LogSettings())
    assert caught.value.message == (
        'logs, row 1 (line 2) of b.csv: 1700000000000 in column "time" is in milliseconds, but 1700000000 in row 1 '
        "(line 2) of a.csv is in seconds, as 2 of 3 times are."
    )


def test_json_types_hold_for_all_files():
    make({"logs/a.jsonl": '{"user_id": 1, "item_id": "a", "n": 1}\n', "logs/b.jsonl": "\n",
          "logs/c.jsonl": '{"user_id": 2, "item_id": "b", "n": 2.5, "m": true}\n'})  # fmt: skip
    log = read_log("logs", LogSettings())
    assert log.column_names == ["user_id", "item_id", "n", "m"]
    assert log.column("n").to_pylist() == [1.0, 2.5]
    assert log.column("m").to_pylist() == [None, True]
    make({"logs/c.jsonl": '{"user_id": true, "item_id": "b"}\n'})
    with pytest.raises(InputError, match="bool values, which cannot be user ids"):
        read_log("logs", LogSettings())


ROW = {"user_id": [1], "item_id": [2], "x": [0.5]}


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (ROW, {"user_id": [1], "x": [2.5]}, 'logs/b.parquet has no column "item_id", which logs/a.parquet has.'),
        ({"user_id": [1], "y": [2]}, ROW, 'logs/a.parquet has no column "item_id", which logs/b.parquet has.'),
        (ROW | {"time": [1]}, ROW, 'logs/b.parquet has no column "time", which logs/a.parquet has.'),
        (ROW, ROW | {"x": ["1"]}, 'logs/b.parquet has string values in column "x", logs/a.parquet has double.'),
    ],
)
@pytest.mark.parametrize("read", [read_log, lambda source, settings: open_parts(source, settings, Silent())])
def test_files_without_columns_that_have_to_be_there(one, other, message, read):
    make({"logs/a.parquet": one, "logs/b.parquet": other})
    with pytest.raises(InputError) as caught:
        read("logs", LogSettings())
    assert caught.value.message == message
    assert caught.value.hint.startswith("Files of one log have the same columns: mend the file, or choose files")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user_id,item_id,timestamp", 'logs/b.csv has no column "time", which logs/a.csv has.'),
        (HEADER.strip() + ",x", 'logs/b.csv has a column "x", which logs/a.csv has not.'),
        ("item_id,user_id,time", 'logs/b.csv has column "item_id" where logs/a.csv has "user_id".'),
    ],
)
def test_headers_that_differ(header, message):
    make({"logs/a.csv": HEADER + "1,2,3\n", "logs/b.csv": header + "\n1,2,3" + ",4" * ("x" in header) + "\n"})
    for in_parts in (False, True):
        with pytest.raises(InputError) as caught:
            open_parts("logs", LogSettings(), Silent()) if in_parts else read_log("logs", LogSettings())
        assert caught.value.message == message


def test_no_rows_at_all():
    make({"logs/a.csv": HEADER, "logs/b.csv": HEADER})
    with pytest.raises(InputError, match=r"^logs has no rows\."):
        read_log("logs", LogSettings())


def test_partitions_are_columns():
    columns = {"user_id": [1, 2], "item_id": ["a", "b"]}
    make({f"logs/day={day}/hour={hour}/p.parquet": columns for day in ("2024-01-02", "2024-01-01") for hour in (9, 10)})
    log = read_log("logs", LogSettings(time_column="day"))
    assert log.column_names == ["user_id", "item_id", "day", "hour"]
    assert log.column("day").to_pylist() == ["2024-01-01"] * 4 + ["2024-01-02"] * 4
    assert log.column("hour").to_pylist() == [10, 10, 9, 9] * 2
    order = log.order()
    assert order[0] == order[3] < order[4]
    assert read_log("logs/day=2024-01-0*", LogSettings()).column_names == log.column_names
    assert read_log("logs/day=2024-01-01", LogSettings()).column_names == ["user_id", "item_id", "hour"]


def test_a_partition_that_is_a_column_too_is_the_files():
    make({"logs/user_id=9/p.parquet": {"user_id": [1], "item_id": ["a"]}})
    log = read_log("logs", LogSettings())
    assert (log.column_names, log.user_ids().to_pylist()) == (["user_id", "item_id"], ["1"])


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("in_parts", [False, True])
def test_a_partition_that_is_a_column_of_some_files_alone(kind, in_parts):
    rows = [{"user_id": [1], "item_id": ["a"], "day": [9]}, {"user_id": [1], "item_id": ["a"]}]
    texts = [json.dumps({name: value for name, (value,) in columns.items()}) + "\n" for columns in rows]
    make({f"logs/day={n}/p.{kind}": (rows if kind == "parquet" else texts)[n] for n in range(2)})
    make({} if kind == "parquet" else {"logs/day=2/empty.jsonl": ""})
    with pytest.raises(InputError) as caught:
        open_parts("logs", LogSettings(), Silent()) if in_parts else read_log("logs", LogSettings())
    assert caught.value.message == (
        f'logs/day=1/p.{kind} has no column "day", which logs/day=0/p.{kind} has beside its folder\'s.'
    )
    Path(f"logs/day=1/p.{kind}").unlink()
    log = open_parts("logs", LogSettings(), Silent()) if in_parts else read_log("logs", LogSettings())
    assert log.partitions == [] if in_parts else log.records.partitions == []


def test_a_partition_can_be_the_user():
    make({f"logs/user={user}/p.csv": "item\n7\n" for user in ("007", "8")})
    assert read_log("logs", LogSettings()).user_ids().to_pylist() == ["007", "8"]


def test_folders_of_other_partitions():
    make({"logs/day=1/a.csv": HEADER + "1,2,3\n", "logs/b.csv": HEADER + "1,2,3\n"})
    with pytest.raises(InputError, match=r"logs/day=1/a.csv lies in day=, logs/b.csv in no partition\."):
        read_log("logs", LogSettings())


def test_items_in_a_folder():
    make({"items/a.csv": "item,title\n1,One\n", "items/b.csv": "item,title\n2,Two\n1,Uno\n"})
    texts = read_items("items", LogSettings())
    assert (texts.ids, texts.texts, texts.conflicting) == (["1", "2"], ["One", "Two"], 1)


# Files back.


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_each_file_comes_back_with_its_kept_rows(data):
    for folder in ("logs", "kept", "removed"):
        shutil.rmtree(folder, ignore_errors=True)
    kind = data.draw(st.sampled_from(["csv", "jsonl"]))
    bare = kind == "csv" and data.draw(st.booleans())
    settings = LogSettings(header=not bare, columns="user_id,item_id" if bare else None)
    records = st.builds(
        ('{{"user_id": {}, "item_id": {}}}{}' if kind == "jsonl" else "{},{}{}").format,
        st.integers(0, 3), st.integers(0, 9), st.sampled_from(["\n", "\r\n", "\n\n"]),
    )  # fmt: skip
    header = "" if kind == "jsonl" or bare else data.draw(st.sampled_from(["", "\ufeff"])) + "user_id,item_id\r\n"
    files = data.draw(st.lists(st.lists(records, max_size=4), min_size=1, max_size=4).filter(any))
    chopped = [[*rows[:-1], rows[-1].rstrip()] if rows and data.draw(st.booleans()) else rows for rows in files]
    make({f"logs/{number}/log.{kind}": header + "".join(rows) for number, rows in enumerate(chopped)})
    log = read_log("logs", settings)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=log.num_rows, max_size=log.num_rows)))
    for selection, target in ((keep, "kept"), (~keep, "removed")):
        with drafted_folder(log, target, selection):
            pass
        left = iter(selection.tolist())
        expected = {
            f"{number}/log.{kind}": (header + "".join(row for row in rows if next(left))).encode()
            for number, rows in enumerate(chopped)
        }
        found = tree(target)
        assert json.loads(found.pop(MARKER))["files"] == sorted(expected)
        assert found == expected
        # One file of them reads as the folder does.
        if selection.any():
            write_rows(log, f"{target}.{kind}", selection, force=True)
            one, several = read_log(f"{target}.{kind}", settings), read_log(target, settings)
            for name in log.column_names:
                assert one.column(name).to_pylist() == several.column(name).to_pylist()
            assert one.num_rows == selection.sum()


def test_one_file_ends_each_record():
    make({"logs/a.csv": HEADER.replace("\n", "\r\n") + "1,2,3", "logs/b.csv": HEADER + "4,5,6", "logs/c.csv": HEADER})
    log = read_log("logs", LogSettings())
    write_rows(log, "all.csv", np.ones(2, bool))
    assert Path("all.csv").read_bytes() == b"user_id,item_id,time\r\n1,2,3\n4,5,6"
    write_rows(log, "scored.csv", np.ones(2, bool), extra={"s": np.array([1, 2])})
    assert Path("scored.csv").read_bytes() == b"user_id,item_id,time,s\r\n1,2,3,1\n4,5,6,2"
    write_rows(log, "all.parquet", np.ones(2, bool))
    assert pq.read_table("all.parquet").to_pylist()[1] == {"user_id": 4, "item_id": 5, "time": 6}


def test_two_byte_orders_in_one_file():
    for name, encoding in (("a", "utf-16-le"), ("b", "utf-16-be")):
        make({f"logs/{name}.csv": ("\ufeffuser_id,item_id\n1," + name + "\n").encode(encoding)})
    log = read_log("logs", LogSettings(encoding="utf-16"))
    write_rows(log, "all.csv", np.ones(2, bool))
    assert Path("all.csv").read_bytes().decode("utf-16-le") == "\ufeffuser_id,item_id\n1,a\n1,b\n"
    with drafted_folder(log, "back", np.ones(2, bool)):
        pass
    assert tree("back")["b.csv"] == Path("logs/b.csv").read_bytes()


def test_parquet_files_come_back_as_they_were():
    for number, codec in enumerate(["zstd", "gzip"]):
        schema = pa.schema([("user_id", "int64"), ("item_id", "string"), ("kind", pa.dictionary("int32", "string"))],
                           metadata={"origin": f"test {number}"})  # fmt: skip
        table = pa.table([[1, 2, 3], ["a", "b", "c"], pa.array([f"k{number}", "x", None]).dictionary_encode()],
                         schema=schema)  # fmt: skip
        Path(f"logs/day={number}").mkdir(parents=True)
        pq.write_table(table, f"logs/day={number}/p.parquet", compression=codec)
    log = read_log("logs", LogSettings())
    keep = np.array([True, False, True, False, False, False])
    with drafted_folder(log, "back/", keep):
        pass
    one, two = (pq.ParquetFile(f"back/day={number}/p.parquet") for number in range(2))
    before = pq.ParquetFile("logs/day=0/p.parquet").read()
    assert one.read().equals(before.filter(pa.array(keep[:3])))
    assert one.read().schema.equals(before.schema, check_metadata=True)
    assert two.metadata.num_rows == 0
    assert two.schema_arrow.metadata[b"origin"] == b"test 1"
    # In one file, what only the folders said becomes a column.
    write_rows(log, "all.parquet", ~keep, extra={"s": np.arange(4)})
    everything = pq.read_table("all.parquet")
    assert everything.to_pylist()[1:3] == [
        {"user_id": 1, "item_id": "a", "kind": "k1", "day": 1, "s": 1},
        {"user_id": 2, "item_id": "b", "kind": "x", "day": 1, "s": 2},
    ]
    assert everything.schema.metadata[b"origin"] == b"test 0"
    write_rows(log, "all.csv", ~keep)
    assert Path("all.csv").read_text().splitlines()[:2] == ["user_id,item_id,kind,day", "2,b,x,0"]


def test_a_column_without_nulls_in_the_first_file_alone_may_have_some_in_one_file():
    rows = {"user_id": [1, 2], "item_id": [3, 4], "x": [5, 6]}
    schema = pa.schema([pa.field(name, pa.int64(), nullable=name == "item_id") for name in rows], {"by": "me"})
    Path("logs").mkdir()
    pq.write_table(pa.table(rows, schema), "logs/a.parquet")
    pq.write_table(pa.table({**rows, "x": [None, 7]}), "logs/b.parquet")
    write_rows(read_log("logs", LogSettings()), "out.parquet", np.ones(4, bool))
    table = pq.read_table("out.parquet")
    assert table["x"].to_pylist() == [5, 6, None, 7]
    assert table.schema.metadata == {b"by": b"me"}
    assert open_parts("logs", LogSettings(), Silent()).schema.equals(table.schema, check_metadata=True)


def test_partitions_of_text_become_fields_in_one_file():
    make({"logs/day=1/a.csv": HEADER + "1,2,3\n", "logs/day=__HIVE_DEFAULT_PARTITION__/a.csv": HEADER + "4,5,6\n"})
    log = read_log("logs", LogSettings())
    write_rows(log, "all.csv", np.ones(2, bool), extra={"s": np.array([7, 8])})
    assert Path("all.csv").read_text() == "user_id,item_id,time,day,s\n1,2,3,1,7\n4,5,6,,8\n"
    with (
        pytest.raises(UsageError, match='logs already has a column "day"'),
        drafted_folder(log, "out", np.ones(2, bool), extra={"day": np.zeros(2)}),
    ):
        pass


def test_scores_go_into_each_file():
    make({"logs/a.csv": HEADER + "1,2,3\n4,5,6\n", "logs/b.csv": HEADER + "7,8,9\n"})
    with drafted_folder(read_log("logs", LogSettings()), "out", np.array([1, 2]), extra={"s": np.array([0.5, 0.25])}):
        pass
    assert Path("out/a.csv").read_text() == "user_id,item_id,time,s\n4,5,6,0.5\n"
    assert Path("out/b.csv").read_text() == "user_id,item_id,time,s\n7,8,9,0.25\n"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_appears_meanwhile_stays(force):
    make({"logs/a.csv": HEADER + "1,2,3\n", "logs/b.csv": HEADER + "4,5,6\n"})
    log = read_log("logs", LogSettings())
    with (
        pytest.raises(OutputError, match="holds no _iadsr.json" if force else "The output folder out exists"),
        drafted_folder(log, "out", np.array([True, False]), force=force),
    ):
        make({"out/theirs.csv": "precious"})
    assert tree("out") == {"theirs.csv": b"precious"}
    assert sorted(path.name for path in Path().iterdir()) == ["logs", "out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_failure_leaves_the_folder_that_was_there(monkeypatch, error):
    make({"logs/a.csv": HEADER + "1,2,3\n", "logs/b.csv": HEADER + "4,5,6\n"})
    log = read_log("logs", LogSettings())
    with drafted_folder(log, "out", np.array([True, False])):
        pass
    before, calls = tree("."), []

    def fail(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise error

    monkeypatch.setattr(writer.os, "fsync", fail)
    expected = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught, drafted_folder(log, "out", np.ones(2, bool)):
        pass
    if expected is OutputError:
        assert caught.value.message == "out could not be written: No space left on device."
    assert tree(".") == before


# Where to.


@pytest.mark.parametrize(
    ("source", "target", "override", "expected"),
    [
        ("logs", "clean", "auto", True),
        ("logs", "clean/", "auto", True),
        ("logs", "clean.v2", "auto", True),
        ("logs/*.csv", "clean", "auto", True),
        ("logs", "clean.csv/", "auto", True),
        ("logs", "there.parquet", "auto", True),
        ("logs", "clean.parquet", "auto", False),
        ("logs", "clean.csv.gz", "auto", False),
        ("logs", "clean", "csv", False),
        ("logs", "-", "auto", False),
        ("logs", "/dev/null", "auto", False),
        ("logs/a.csv", "clean", "auto", False),
    ],
)
def test_what_is_written_as_a_folder(source, target, override, expected):
    make({"logs/a.csv": ""})
    Path("there.parquet").mkdir()
    assert is_folder_target(source, target, override) is expected


def test_a_folder_is_replaced_only_if_iadsr_wrote_all_of_it():
    make({"logs/a.csv": HEADER + "1,2,3\n", "mine/a.csv": "precious", "file": ""})
    Path("empty").mkdir()
    log = read_log("logs", LogSettings())
    with drafted_folder(log, "out", np.ones(1, bool)):
        pass
    check_folder_target("new", "logs", force=False)
    check_folder_target("empty", "logs", force=False)
    check_folder_target("out", "logs", force=True)
    cases = {
        ("out", False): ("The output folder out exists.", "--force"),
        ("mine", False): ("The output folder mine exists.", "--force"),
        ("mine", True): (
            "mine holds no _iadsr.json, so it is not a folder that iadsr wrote, and --force does not replace it.",
            "Name another folder, or move that one away.",
        ),
        ("file", True): ("file is a file, and a folder is to be written.", "another"),
        ("none/out", True): ("none is not a folder, so out cannot be written there.", "mkdir"),
    }
    for (target, force), (message, hint) in cases.items():
        with pytest.raises(OutputError) as caught:
            check_folder_target(target, "logs", force=force)
        assert caught.value.message.endswith(message)
        assert hint in caught.value.hint
    make({"out/notes.txt": "mine"})
    with pytest.raises(OutputError, match=r"out holds notes.txt, which iadsr did not write, and --force does not"):
        check_folder_target("out", "logs", force=True)
    make({f"out/{MARKER}": "[]"})
    with pytest.raises(OutputError, match=f"holds no {MARKER}"):
        check_folder_target("out", "logs", force=True)


def test_no_output_among_the_logs_files():
    make({"logs/a.csv": "", "logs/b/c.csv": ""})
    for source, target in {"logs": "logs/clean", "logs/**/*.csv": "logs/b/x", "logs/*": "logs/clean"}.items():
        with pytest.raises(OutputError, match=f"{target} lies in the log itself: the next run would read it"):
            check_folder_target(target, source, force=True)
    for source in ("logs", "logs/*.csv"):
        with pytest.raises(OutputError, match=r"logs/all.csv lies in the log itself"):
            check_outside("logs/all.csv", source)
    for source, target in {"logs/b": ".", "logs/*.csv": "logs"}.items():
        with pytest.raises(OutputError, match="holds the log itself, and maybe more"):
            check_folder_target(target, source, force=True)
    assert not would_hold("logs/a*.csv", Path("logs/clean.csv"))
    assert not would_hold("logs/a.csv", Path("logs/clean.csv"))
    # What lies in a folder that a pattern finds is read, too, and what is hidden is not.
    assert would_hold("logs/*", Path("logs/b/clean.csv"))
    assert not would_hold("logs", Path("logs/.cache/clean.csv"))
    # Of a folder whose files are known, only those count.
    for pattern in ("**/*.csv", "*.csv", "*/*.csv", "**/items.parquet"):
        assert not would_hold(f"logs/{pattern}", Path("logs/new"), ["rows.parquet"])
    for pattern in ("**", "**/*", "**/*.parquet", "*/r*.parquet"):
        assert would_hold(f"logs/{pattern}", Path("logs/new"), ["rows.parquet"])


def test_standard_input_is_no_folder():
    make({"-/a.csv": HEADER})
    assert not is_several("-")
    assert is_several("./-")
    assert not would_hold("-", Path("-/clean.csv"))


def test_a_folder_that_iadsr_wrote_can_be_cleaned_in_place():
    make({"logs/a.csv": HEADER + "1,2,3\n4,5,6\n"})
    with drafted_folder(read_log("logs", LogSettings()), "out", np.ones(2, bool)):
        pass
    log = read_log("out", LogSettings())
    check_folder_target("out", "out", force=True)
    with drafted_folder(log, "out", np.array([False, True]), force=True):
        pass
    assert Path("out/a.csv").read_text() == HEADER + "4,5,6\n"
    assert sorted(path.name for path in Path().iterdir()) == ["logs", "out"]


def test_a_link_to_a_folder_keeps_pointing():
    make({"logs/a.csv": HEADER + "1,2,3\n"})
    log = read_log("logs", LogSettings())
    with drafted_folder(log, "real", np.ones(1, bool)):
        pass
    Path("link").symlink_to("real")
    with drafted_folder(log, "link", np.zeros(1, bool), force=True):
        pass
    assert Path("link").is_symlink()
    assert Path("real/a.csv").read_text() == HEADER


def test_folders_of_artifacts_and_of_logs_are_told_apart(tmp_path):
    artifacts.write_artifact(Path("model"), "embed", lambda draft: None, config={}, inputs={}, facts={})
    with pytest.raises(OutputError, match=f"model holds no {MARKER}"):
        check_folder_target("model", "logs", force=True)
