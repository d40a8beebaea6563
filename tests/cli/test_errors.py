"""Whatever cannot be done ends in two lines: what is wrong, and what to do; before any training where it can be."""

import gzip
import io
import json
import os
import pty
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

QUICK = ["--method", "iadsr", "--encoder", "tfidf", "--pretrain-epochs", "1", "--align-epochs", "1", "--device", "cpu"]
HEADER = b"user_id,item_id,timestamp\n"
ROWS = b"".join(b"u%d,i%d,%d\n" % (user, (user * 3 + step) % 7, step) for user in range(4) for step in range(5))


def parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


# name -> file, content, options, exit code, part of the error, part of the hint
BAD_LOGS = {
    "missing": ("unheard-of.parquet", None, [], 1, "unheard-of.parquet does not exist.", "Check the path."),
    "missing, and no extension": ("unheard-of", None, [], 1, "unheard-of does not exist.", "Check the path."),
    "empty": ("a.csv", b"", [], 1, "a.csv is empty.", "at least one interaction"),
    "only a header": ("a.csv", HEADER, [], 1, "a.csv has no rows.", "at least one interaction"),
    "one user": (
        "a.csv",
        HEADER + b"u,i1,1\nu,i2,2\nu,i3,3\n",
        [],
        1,
        "a.csv has one user only",
        "or name the right column with --user-column",
    ),
    "one item": (
        "a.csv",
        HEADER + b"u1,i,1\nu1,i,2\nu1,i,3\nu2,i,3\n",
        [],
        1,
        "a.csv has one item only",
        "or name the right column with --item-column",
    ),
    "short histories": ("a.csv", HEADER + b"u1,i1,1\nu2,i2,2\nu2,i1,2\n", [], 1, "three", ""),
    "unknown column": (
        "a.csv",
        HEADER + ROWS,
        ["--user-column", "usr_id"],
        2,
        'Column "usr_id" not found in a.csv.',
        'Candidates: "user_id".',
    ),
    "no user column": (
        "a.csv",
        b"who,item_id\na,b\n",
        [],
        2,
        'No column of a.csv looks like the user column. Columns: "who", "item_id".',
        "Name it with --user-column.",
    ),
    "two user columns": (
        "a.csv",
        b"session_id,user_id,item_id\n1,2,3\n",
        [],
        2,
        '2 columns of a.csv could be the user column: "user_id", "session_id".',
        "Choose with --user-column user_id.",
    ),
    "two time columns": (
        "a.csv",
        b"user_id,item_id,ts,time\n1,2,3,4\n",
        [],
        2,
        '2 columns of a.csv could be the time column: "ts", "time".',
        "--time-column ts (or none, to use file order)",
    ),
    "null user": (
        "a.csv",
        HEADER + ROWS + b",i1,9\n",
        [],
        1,
        '1 of 21 rows has no user id in column "user_id" of a.csv, the first is row 21 (line 22).',
        "--null-ids keep",
    ),
    "null item": (
        "a.parquet",
        parquet(user_id=[1, 1, 2], item_id=["a", None, "b"]),
        [],
        1,
        '1 of 3 rows has no item id in column "item_id" of a.parquet, the first is row 2.',
        "--null-ids keep",
    ),
    "only null ids": (
        "a.parquet",
        parquet(user_id=["u", None], item_id=[None, "b"]),
        ["--null-ids", "keep"],
        1,
        "a.parquet has no row with both a user and an item.",
        "Give a log with interactions.",
    ),
    "unreadable parquet": (
        "a.parquet",
        parquet(user_id=[1], item_id=[1])[:-9],
        [],
        1,
        "a.parquet is not a readable Parquet file",
        "cut off",
    ),
    "broken gzip": (
        "a.csv.gz",
        gzip.compress(HEADER + ROWS)[:-6],
        [],
        1,
        "a.csv.gz cannot be decompressed: its gzip data is broken or cut off.",
        "Copy or download it again",
    ),
    "ragged rows": (
        "a.csv",
        HEADER + ROWS + b"u1,i1\n",
        [],
        1,
        "a.csv, line 22: expected 3 fields, found 2.",
        "in quotes",
    ),
    "another encoding": (
        "a.csv",
        HEADER + ROWS + b"Zo\xeb,i1,1\n",
        [],
        1,
        "a.csv, line 22: byte 0xeb is not utf-8 text.",
        "--encoding latin-1",
    ),
    "names for columns that have some": (
        "a.jsonl",
        b'{"user_id": 1, "item_id": 2}\n',
        ["--columns", "user_id,item_id"],
        2,
        "--columns names the columns of delimited text, but a.jsonl is jsonl.",
        "Leave it out: columns have names there.",
    ),
    "unknown extension": (
        "a.xlsx",
        HEADER + ROWS,
        [],
        2,
        "The format of a.xlsx cannot be told from its name.",
        "say it with --format csv",
    ),
}


@pytest.mark.parametrize("command", ["denoise", "pretrain", "evaluate"])
@pytest.mark.parametrize("case", BAD_LOGS)
def test_a_bad_log(refused, case: str, command: str) -> None:
    name, content, options, code, error, hint = BAD_LOGS[case]
    if content is not None:
        Path(name).write_bytes(content)
    refused(command, name, "-o", "out.csv", *options, code=code, error=error, hint=hint)
    assert not Path("out.csv").exists()


@pytest.mark.parametrize("case", ["missing", "empty", "broken gzip", "ragged rows", "another encoding"])
def test_a_bad_items_file(refused, shop: Path, case: str) -> None:
    name, content, _, code, error, hint = BAD_LOGS[case]
    if content is not None:
        Path(name).write_bytes(content)
    for arguments in (["embed", name, "-o", "vectors"], ["denoise", shop, "--items", name, "-o", "out.csv"]):
        own = hint if arguments[0] == "embed" else hint.replace("--encoding", "--items-encoding")
        refused(*arguments, code=code, error=error, hint=own)
    assert not Path("vectors").exists()


@pytest.mark.parametrize("way", ["never", "always"])
def test_an_items_file_of_other_items(refused, shop: Path, way: str) -> None:
    Path("items.csv").write_text("item_id,title\nx,a thing\n", encoding="utf-8")
    refused(
        "denoise",
        shop,
        "--items",
        "items.csv",
        "-o",
        "out.csv",
        "--in-parts",
        way,
        code=1,
        error='items has a text in items.csv: its ids are such as "x", and the log\'s such as "p',
        hint="write ids as the log does",
    )


def test_a_log_without_text_cannot_be_embedded(refused, shop: Path) -> None:
    pd.read_csv(shop).drop(columns="title").to_csv("bare.csv", index=False)
    refused(
        "embed", "bare.csv", "-o", "v", code=2, error="No column of bare.csv is used as text.", hint="--text-column"
    )


# Outputs.


def test_an_output_that_exists_is_left_alone(refused, run, shop: Path) -> None:
    Path("clean.csv").write_text("precious", encoding="utf-8")
    hint = "Pass --force to replace it, or name another file."
    refused("denoise", shop, "-o", "clean.csv", code=1, error="clean.csv exists already.", hint=hint)
    refused("denoise", shop, "-o", "x.csv", "--removed", "clean.csv", code=1, error="clean.csv exists", hint=hint)
    assert Path("clean.csv").read_text(encoding="utf-8") == "precious"
    assert not Path("x.csv").exists()
    assert run("denoise", shop, "-o", "clean.csv", "--force", *QUICK).exit_code == 0
    assert Path("clean.csv").read_text(encoding="utf-8").startswith("user_id,")


def test_an_output_folder_that_exists_is_left_alone(refused, run, shop: Path) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("precious", encoding="utf-8")
    for command in ("embed", "pretrain", "evaluate"):
        refused(command, shop, "-o", "mine", code=1, error="The output folder mine exists.", hint="pass --force")
        refused(
            command,
            shop,
            "-o",
            "mine",
            "--force",
            code=1,
            error="mine holds no manifest.json, so it is not a folder that iadsr wrote",
            hint="Name another folder, or move that one away.",
        )
        Path("file").touch()
        refused(command, shop, "-o", "file", code=1, error="is a file, and a folder is to be written", hint="another")
    assert [path.name for path in Path("mine").iterdir()] == ["notes.txt"]
    refused("align", shop, "--pretrained", "x", "-o", "mine", code=1, error="folder mine exists.", hint="--force")
    arguments = ["pretrain", shop, "-o", "gru", "--pretrain-epochs", "1"]
    assert run(*arguments).exit_code == 0
    before = Path("gru/manifest.json").read_bytes()
    assert run(*arguments, "--seed", "5").exit_code == 1
    assert Path("gru/manifest.json").read_bytes() == before
    assert run(*arguments, "--seed", "5", "--force").exit_code == 0
    assert Path("gru/manifest.json").read_bytes() != before


@pytest.fixture
def unwritable(tmp_path: Path) -> Iterator[Path]:
    """A folder in which nothing can be made."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    yield Path("/proc") if os.access(folder, os.W_OK) else folder  # root writes where the bits forbid it
    folder.chmod(0o700)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")
def test_an_output_that_cannot_be_written(refused, shop: Path, unwritable: Path) -> None:
    target = unwritable / "clean.csv"
    hint = "Name another place for the output."
    refused("denoise", shop, "-o", target, code=1, error=f"{target} cannot be written:", hint=hint)
    refused("denoise", shop, "-o", "x.csv", "--removed", target, code=1, error="cannot be written:", hint=hint)
    for command in ("embed", "pretrain", "evaluate"):
        error = f"The folder {unwritable} cannot be written:"
        refused(command, shop, "-o", unwritable / "out", code=1, error=error, hint="Name a folder that can be.")


def test_an_output_in_no_folder(refused, shop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "no" / "such"
    refused(
        "denoise",
        shop,
        "-o",
        "no/such/clean.csv",
        code=1,
        error=f"The folder {folder} does not exist.",
        hint=f"mkdir -p {folder}",
    )
    refused("pretrain", shop, "-o", "no/such/gru", code=1, error=f"{folder} is not a folder", hint="mkdir -p")


def test_links_that_lead_in_a_circle(refused, shop: Path, events: Path) -> None:
    (loop := shop.with_name("loop.csv")).symlink_to(loop)
    (inside := events / "day=2" / "loop.csv").symlink_to(inside)
    wrong = "Too many levels of symbolic links."
    read = {"code": 1, "error": f"loop.csv cannot be read: {wrong}", "hint": "Check the path"}
    for command in ("denoise", "embed", "pretrain", "evaluate"):
        refused(command, "loop.csv", "-o", "out", **read)
    refused("denoise", shop, "-o", "clean.csv", "--items", "loop.csv", **read)
    for report in ([], ["--report", "report"]):
        refused("denoise", events, "-o", "clean.csv", *report, **read)
    written = {"code": 1, "error": f"loop.csv cannot be written: {wrong}", "hint": "Name another"}
    for force in ([], ["--force"]):
        refused("denoise", shop, "-o", "loop.csv", *force, **written)
        refused("denoise", shop, "-o", "clean.csv", "--removed", "loop.csv", *force, **written)
        refused("denoise", shop, "-o", "clean.csv", "--report", "loop.csv", *force, **written)
        refused("denoise", events, "-o", "loop.csv/", *force, code=1, error=wrong, hint="Name another")
        for command in ("embed", "pretrain", "evaluate"):
            refused(command, shop, "-o", "loop.csv", *force, **written)


def test_folders_whose_names_are_no_text(refused, shop: Path) -> None:
    error = {"code": 2, "error": r"a\udcff, which is not UTF-8 text.", "hint": "Name a folder by text."}
    refused("denoise", shop, "-o", "clean.csv", "--cache-dir", "a\udcff", **error)
    refused("denoise", shop, "-o", "clean.csv", "--report", "a\udcff", **error)
    refused("embed", shop, "-o", "a\udcff", **error)


def test_a_parquet_file_whose_name_is_no_text(refused) -> None:
    Path("a\udcff.parquet").write_bytes(parquet(user_id=[1], item_id=[2]))
    error, hint = r"a\udcff.parquet has a name that is not UTF-8, by which no Parquet file is opened.", "Rename it."
    refused("denoise", "a\udcff.parquet", "-o", "x.csv", code=1, error=error, hint=hint)


def test_text_files_whose_names_are_no_text(run, shop: Path, scored: None) -> None:
    shutil.copy(shop, "a\udcff.csv")
    arguments = ["--encoder", "tfidf", "--json", "--report", "report"]
    result = run("denoise", "a\udcff.csv", "-o", "b\udcff.csv", *arguments)
    assert result.exit_code == 0, result.stderr
    assert "b\udcff.csv" in json.loads(result.stdout).values()


def test_names_that_are_too_long(refused, shop: Path) -> None:
    name = "x" * 300
    refused("denoise", shop, "-o", name + ".csv", code=1, error="name", hint="Name another place")
    error = "is a longer name than this system takes."
    refused("denoise", shop, "-o", "x.csv", "--cache-dir", name, code=1, error=error, hint="Give a shorter one.")


def test_a_cache_that_cannot_be_written(refused, shop: Path) -> None:
    for command in ("denoise", "evaluate"):
        refused(
            command,
            shop,
            "-o",
            "out.csv",
            "--cache-dir",
            shop / "cache",
            code=1,
            error=f"The cache folder {shop / 'cache'} cannot be written: Not a directory.",
            hint="Name another one with --cache-dir.",
        )


def test_outputs_that_are_one_file(refused, shop: Path) -> None:
    error = "Both the cleaned log and the removed rows would go to"
    for one, other in (("a.csv", "a.csv"), ("a.csv", "./a.csv"), ("-", "-")):
        refused("denoise", shop, "-o", one, "--removed", other, code=2, error=error, hint="another file with --removed")


def test_a_report_in_the_place_of_rows(refused, shop: Path) -> None:
    error, hint = "and the report would go to", "Name another folder with --report."
    for one, other in (("a.csv", "a.csv"), ("a.csv", "./b/../a.csv"), ("a.csv", shop.parent / "a.csv")):
        refused("denoise", shop, "-o", one, "--report", other, code=2, error=f"{error} {one}.", hint=hint)
        removed = ["-o", "o.csv", "--removed", one, "--report", other, "--force"]
        refused("denoise", shop, *removed, code=2, error=f"{error} {one}.", hint=hint)
    Path("link").symlink_to(shop.parent / "report")
    arguments = ["-o", "link", "--report", "report", "--output-format", "csv"]
    refused("denoise", shop, *arguments, code=2, error=f"Both the cleaned log {error} link.", hint=hint)
    assert not Path("a.csv").exists()


def test_outputs_that_lie_in_one_another(refused, events: Path) -> None:
    Path("out").mkdir()
    hint = "Name another folder with --report."
    error = "out/rep for the report lies in out, where the cleaned log would go."
    refused("denoise", events, "-o", "out", "--report", "out/rep", code=2, error=error, hint=hint)
    error = "out/clean for the cleaned log lies in out, where the report would go."
    refused("denoise", events, "-o", "out/clean", "--report", "out", code=2, error=error, hint=hint)
    error = "out/gone.csv for the removed rows lies in out, where the report would go."
    arguments = ["-o", "a.csv", "--removed", "out/gone.csv", "--report", "out/./"]
    refused("denoise", events, *arguments, code=2, error=error, hint=hint)
    error = "out/gone.csv for the removed rows lies in out, where the cleaned log would go."
    hint = "Name another file with --removed."
    refused("denoise", events, "-o", "out", "--removed", "out/gone.csv", code=2, error=error, hint=hint)
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_no_folder_takes_the_place_of_what_is_read(refused, shop: Path, force: list[str]) -> None:
    rep = Path("rep")
    rep.mkdir()
    (rep / "manifest.json").write_text("{}", encoding="utf-8")  # so that --force would replace it
    for name in ("log.csv", "items.csv", "vectors.parquet"):
        shutil.copy(shop, rep / name)
    (rep / "model").mkdir()
    Path("link").symlink_to(rep / "model")
    Path("rows").mkdir()
    Path("rows/part.csv").symlink_to(shop.parent / "rep/log.csv")

    def kept(command: str, log: object, option: str, *others: object, error: str) -> None:
        refused(
            command, log, option, "./rep", *others, *force, code=1, error=error, hint="another place; --force does not"
        )

    for command, option in (("denoise", "--report"), ("evaluate", "-o"), ("embed", "-o"), ("pretrain", "-o")):
        kept(command, "rep/log.csv", option, error="rep holds the log itself.")
        kept(command, f"file://{shop.parent}/rep/log.csv", option, error="rep holds the log itself.")
        kept(command, "rep/*.csv", option, error="rep holds the log itself.")
        kept(command, "rows", option, error="rep holds the log itself.")
    for command, option in (("denoise", "--report"), ("evaluate", "-o")):
        kept(command, shop, option, "--items", "rep/items.csv", error="rep holds the file with the items' texts.")
        kept(command, shop, option, "--model", "rep/../rep", error="rep is the folder of --model.")
        kept(command, shop, option, "--model", "link", error="rep holds the folder of --model.")
    own = ["--encoder", "vectors:rep/vectors.parquet"]
    kept("embed", shop, "-o", *own, error="rep holds the file of --encoder.")
    kept("align", shop, "-o", "--pretrained", "rep", error="rep is the folder of --pretrained.")
    vectors = ["--pretrained", "gru", "--vectors", "link"]
    kept("align", shop, "-o", *vectors, error="rep holds the folder of --vectors.")
    assert sorted(path.name for path in rep.iterdir()) == [
        "items.csv",
        "log.csv",
        "manifest.json",
        "model",
        "vectors.parquet",
    ]


def test_no_rows_take_the_place_of_vectors(refused, shop: Path) -> None:
    Path("v.parquet").write_bytes(b"mine")
    arguments = ["--removed", "./v.parquet", "--encoder", "vectors:v.parquet", "--force"]
    refused("denoise", shop, *arguments, code=1, error="v.parquet is the file of --encoder.", hint="another place")
    assert Path("v.parquet").read_bytes() == b"mine"


def test_no_folder_among_the_files_of_the_log(refused, run, events: Path) -> None:
    cases = (("denoise", "--report"), ("evaluate", "-o"), ("embed", "-o"), ("pretrain", "-o"))
    for command, option in cases:
        error, hint = "events/new lies in the log itself: the next run would read it as part of events.", "another"
        refused(command, "events", option, "events/new", code=1, error=error, hint=hint)
        refused(command, f"file://{events}", option, "events/new", code=1, error="lies in the log itself", hint=hint)
    assert run("embed", "events/**/*.csv", "-o", "events/new", "--encoder", "tfidf").exit_code == 0, "no CSV lies there"


def test_a_cache_among_the_files_of_the_log(refused, events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cache in ("events/cache", "events", events / "day=1"):
        for command in ("denoise", "evaluate", "embed", "pretrain", "align"):
            needed = {"denoise": [], "evaluate": [], "align": ["--pretrained", "x", "-o", "new"]}
            error = f"The cache folder {cache} lies in the log itself: the next run would read it as part of events."
            hint = "Name another one with --cache-dir."
            options = [*needed.get(command, ["-o", "new"]), "--cache-dir", cache]
            refused(command, "events", *options, code=1, error=error, hint=hint)
    monkeypatch.delenv("IADSR_CACHE_DIR")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: events / "Caches")
    error = f"The cache folder {events / 'Caches'} lies in the log itself"
    refused("denoise", "events", code=1, error=error, hint="--cache-dir")
    assert sorted(path.name for path in events.iterdir()) == ["_SUCCESS", "day=1", "day=2"]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_cannot_go_to_standard_output(refused, shop: Path, force: list[str]) -> None:
    for command, option, *others in (
        ("denoise", "--report", "-o", "a.csv"),
        ("evaluate", "-o"),
        ("embed", "-o"),
        ("pretrain", "-o"),
        ("align", "-o", "--pretrained", "x"),
    ):
        error = "A folder cannot go to standard output."
        refused(command, shop, option, "-", *others, *force, code=2, error=error, hint="Name a folder.")
    assert not Path("-").exists()


def test_a_name_that_is_empty(refused, shop: Path) -> None:
    def empty(name: str, *arguments: object) -> None:
        refused(*arguments, code=2, error=f"The name of {name} is empty.", hint="that variable is not set.")

    empty("LOG", "denoise", "")
    for option in ("--output", "--removed", "--items", "--report", "--model", "--config", "--cache-dir"):
        empty(option, "denoise", shop, option, "")
        empty(option, "denoise", shop, f"{option}=")
    empty("--output", "denoise", shop, "-o", "")
    for command in ("evaluate", "embed", "pretrain"):
        empty("LOG", command, "", "-o", "x")
        empty("--output", command, shop, "-o", "")
    empty("--pretrained", "align", shop, "--pretrained", "", "-o", "x")
    Path("a.toml").write_text("api-key-file = ''\n", encoding="utf-8")
    empty("--api-key-file", "denoise", shop, "--config", "a.toml")


def test_the_log_itself_as_output(refused, shop: Path) -> None:
    before = shop.read_bytes()
    refused("denoise", shop, "-o", "./shop.csv", code=1, error="./shop.csv is the log itself.", hint="another file")
    for force in ([], ["--force"]):
        removing = ["-o", "a", "--removed", shop, *force]
        refused("denoise", shop, *removing, code=1, error="shop.csv is the log itself.", hint="another")
    assert shop.read_bytes() == before


@pytest.mark.parametrize("option", ["-o", "--removed"])
def test_the_items_as_output(refused, shop: Path, option: str) -> None:
    items = Path("items.csv")
    items.write_text("item_id,title\np0001,a thing\n", encoding="utf-8")
    arguments = ["--items", items, option, "./items.csv", "--force"]
    refused("denoise", shop, *arguments, code=1, error="items.csv is the file with the items' texts.", hint="another")
    assert items.read_text(encoding="utf-8") == "item_id,title\np0001,a thing\n"


def test_a_folder_of_another_format(refused, events: Path) -> None:
    arguments = ["-o", "clean/", "--output-format", "parquet"]
    refused(
        "denoise", events, *arguments, code=2, error="clean/ is a folder, whose files keep", hint="one file for all"
    )


def test_a_rule_that_is_given_twice(refused, shop: Path) -> None:
    error, hint = "Both --threshold and --budget are given", "Leave one"
    refused("denoise", shop, "--threshold", "0.4", "--budget", "5%", code=2, error=error, hint=hint)
    environment = {"IADSR_THRESHOLD": "0.4", "IADSR_BUDGET": "5%"}
    refused("denoise", shop, code=2, error=error, hint=hint, env=environment)
    Path("both.toml").write_text('threshold = 0.4\n[denoise]\nbudget = "5%"\n', encoding="utf-8")
    refused("denoise", shop, "--config", "both.toml", code=2, error=error, hint=hint)


def test_a_setting_by_its_other_name_in_a_file(refused, shop: Path) -> None:
    Path("other.toml").write_text('label-column = "x"\n', encoding="utf-8")
    error = 'other.toml has a setting "label-column", which no command knows.'
    refused("evaluate", shop, "--config", "other.toml", code=2, error=error, hint="Did you mean label?")


@pytest.mark.parametrize("line", ["force = true", "[denoise]\nremoved = 'x.csv'", "[embed]\nresume = true"])
def test_a_file_of_settings_holds_no_files_and_no_force(refused, shop: Path, line: str) -> None:
    Path("own.toml").write_text(line + "\n", encoding="utf-8")
    name = line.rpartition("\n")[2].partition(" ")[0]
    error = f'own.toml has "{name}", which is no setting: what a run reads and writes, and may replace, is said where'
    hint = "Take it out of the file, and say it on the command line."
    refused("denoise", shop, "--config", "own.toml", code=2, error=error, hint=hint)


def test_an_error_says_which_options_were_not_given_on_the_command_line(refused, shop: Path) -> None:
    Path("own.toml").write_text('seed = -4\nbudget = "150%"\n', encoding="utf-8")
    settings = ("denoise", shop, "--config", "own.toml")
    found = refused(*settings, code=2, error='--budget cannot be "150%".', hint=" --budget is set in own.toml.")
    environment = {"IADSR_BUDGET": "200%"}
    found += refused(
        *settings,
        code=2,
        error='--budget cannot be "200%".',
        hint=" --budget is IADSR_BUDGET in the environment.",
        env=environment,
    )
    refused(*settings, "--budget", "5%", code=2, error="--seed is -4.", hint=" --seed is set in own.toml.")
    assert "--seed is set" not in found
    typed = refused(*settings, "--budget", "300%", code=2, error='--budget cannot be "300%".', hint="0.05.")
    assert typed.splitlines()[-1] == "hint: Give a share such as 5% or 0.05."


@pytest.mark.parametrize("command", ["denoise", "evaluate"])
def test_how_items_are_written_without_any(refused, shop: Path, command: str) -> None:
    error = "--items-delimiter has no use without --items."
    refused(command, shop, "--items-delimiter", "|", code=2, error=error, hint="Name the file")


@pytest.mark.parametrize("way", ["never", "always"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_names_for_columns_that_have_some(refused, name: str, way: str) -> None:
    log = pd.DataFrame({"user_id": [1, 1], "item_id": [2, 3]})
    log.to_parquet(name) if name.endswith("parquet") else log.to_json(name, orient="records", lines=True)
    error = f"--columns names the columns of delimited text, but {name} is {name[2:]}."
    options = ["denoise", name, "-o", "out", "--columns", "user_id,item_id", "--in-parts", way]
    refused(*options, code=2, error=error, hint="Leave it out: columns have names there.")


def test_items_that_are_written_otherwise_than_the_log(refused) -> None:
    Path("u.data").write_bytes(b"".join(b"%d\t%d\t5\t88125%04d\n" % (n % 7, n % 9, n) for n in range(90)))
    Path("u.item").write_bytes("".join(f"{n}|Am\xe9lie {n}|1997\n" for n in range(9)).encode("latin-1"))
    log = ["denoise", "u.data", "--delimiter", r"\t", "--no-header", "--columns", "user_id,item_id,rating,timestamp"]
    items = [*log, "--items", "u.item", "-o", "out.data"]
    refused(*items, code=1, error="u.item, line 1: byte 0xe9 is not utf-8 text.", hint="--items-encoding latin-1")
    items += ["--items-encoding", "latin-1"]
    refused(*items, code=2, error="u.item has a single column", hint="what separates them: --items-delimiter '|'.")
    items += ["--items-delimiter", "|"]
    hint = "some with --items-columns, as in"
    refused(*items, code=2, error="No column of u.item looks like the item column.", hint=hint)
    Path("meta.jsonl").write_text('{"item_id": 1, "title": "A"}\n', encoding="utf-8")
    error = "--items-columns names the columns of delimited text, but meta.jsonl is jsonl."
    refused(*log, "--items", "meta.jsonl", "--items-columns", "item_id,title", code=2, error=error, hint="Leave it out")
    items += ["--items-columns", "movie,title"]
    refused(*items, code=2, error="--items-columns gives 2 names, but the first record", hint='end with ",..." for')


@pytest.mark.parametrize("way", ["never", "always"])
def test_items_whose_column_is_called_otherwise_than_the_log_s(refused, shop: Path, way: str) -> None:
    Path("games.jsonl").write_text('{"nr": "p0001", "title": "a thing"}\n', encoding="utf-8")
    items = ["denoise", shop, "--items", "games.jsonl", "-o", "out.csv", "--in-parts", way]
    error = "No column of games.jsonl looks like the item column."
    refused(*items, code=2, error=error, hint="Name it with --items-item-column.")
    refused(*items, "--item-column", "item_id", code=2, error=error, hint="Name it with --items-item-column.")
    error, hint = f'Column "nr" not found in {shop}.', "of the --items file alone, name it with --items-item-column."
    refused(*items, "--item-column", "nr", code=2, error=error, hint=hint)
    error = 'Column "skv" not found in games.jsonl.'
    refused(*items, "--items-item-column", "skv", code=2, error=error, hint='Candidates: "nr"')
    Path("games.csv").write_text("asin,book_id,title\n1,2,a\n", encoding="utf-8")
    items[3] = "games.csv"
    refused(*items, code=2, error="could be the item column", hint="Choose with --items-item-column asin.")


def test_an_output_format_that_is_not_known(refused, shop: Path) -> None:
    for option in ("-o", "--removed"):
        refused(
            "denoise",
            shop,
            option,
            "clean.txt",
            code=2,
            error="The format of clean.txt cannot be told from its name.",
            hint="Known extensions: .csv",
        )
    refused(
        "denoise",
        shop,
        "-o",
        "c.csv",
        "--output-format",
        "excel",
        code=2,
        error='--output-format cannot be "excel".',
        hint="Allowed: auto, csv, tsv, parquet, jsonl.",
    )


def test_an_output_format_that_cannot_hold_a_column(refused, shop: Path) -> None:
    table = pa.Table.from_pandas(pd.read_csv(shop)).append_column("tags", pa.array([["a"]] * 1500))
    pq.write_table(table, "log.parquet")
    refused(
        "denoise",
        "log.parquet",
        "-o",
        "clean.csv",
        code=1,
        error='Column "tags" of log.parquet holds list<element: string> values, which CSV and TSV cannot hold.',
        hint="Write to a .parquet or .jsonl file.",
    )


def test_a_column_that_is_to_be_added_is_there_already(refused, shop: Path) -> None:
    shop.write_text(shop.read_text(encoding="utf-8").replace(",event,", ",reason,", 1), encoding="utf-8")
    for options in (["--annotate"], ["--removed", "removed.csv"]):
        refused(
            "denoise",
            shop,
            "-o",
            "clean.csv",
            *options,
            code=2,
            error='already has a column "reason"',
            hint="Rename the log's column first.",
        )


# Terminals.


def on_terminal(start, *arguments: object, **streams: bool) -> tuple[int, bytes, bytes]:
    """Run with one of the standard streams a terminal; return exit code, what the terminal got, standard error."""
    ours, theirs = pty.openpty()
    try:
        process = start(*arguments, **dict.fromkeys(streams, theirs))
        error = process.communicate(timeout=60)[1]
    finally:
        os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # how a terminal says that its other side is gone
        pass
    os.close(ours)
    return process.returncode, seen, error or b""


def test_a_log_is_not_poured_over_a_terminal(iadsr, shop: Path) -> None:
    code, seen, error = on_terminal(iadsr, "denoise", shop, stdout=True)
    assert (code, seen) == (2, b"")
    assert error.decode().splitlines() == [
        "error: No output was named, and standard output is a terminal.",
        "hint: Name a file with -o clean.csv, pipe the output, or only look with --dry-run.",
    ]
    assert not (shop.parent / "cache").exists()


def test_help_is_shown_where_a_terminal_is_to_give_the_log(iadsr, tmp_path: Path) -> None:
    code, seen, error = on_terminal(iadsr, "pretrain", "-", "-o", "gru", stdin=True)
    assert (code, seen) == (2, b"")
    text = error.decode()
    assert "Usage: iadsr pretrain" in text
    assert "--pretrain-epochs" in text
    assert text.splitlines()[-2] == "error: Data is to come from standard input, which is a terminal."
    assert text.splitlines()[-1].startswith("hint: Name a file, or pipe one in:")


def test_standard_input_cannot_be_two_files(refused) -> None:
    refused(
        "denoise",
        "-",
        "--items",
        "-",
        input="user_id,item_id\n",
        code=2,
        error="Both the log and --items would come from standard input.",
        hint="Give one of them as a file.",
    )


# Artifacts.


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one artifact of each kind, of the example's first rows."""
    from typer.testing import CliRunner

    from iadsr_cli.cli.app import app

    folder = tmp_path_factory.mktemp("made")
    lines = (Path(__file__).parents[2] / "examples" / "shop.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    log = folder / "shop.csv"
    log.write_text("".join(lines[:1501]), encoding="utf-8")
    for arguments in (
        ["embed", log, "--encoder", "tfidf"],
        ["pretrain", log, "--pretrain-epochs", "1"],
        ["align", log, "--pretrained", folder / "pretrain", "--vectors", folder / "embed", "--align-epochs", "1"],
    ):
        paths = ["-o", folder / str(arguments[0])]
        environment = {"IADSR_CACHE_DIR": str(folder / "cache")}
        result = CliRunner().invoke(app, [str(value) for value in (*arguments, *paths)], env=environment)
        assert result.exit_code == 0, result.output
    return folder


def test_an_artifact_of_another_kind(refused, shop: Path, made: Path) -> None:
    def wanted(kind: str, *arguments: object, given: str) -> None:
        error = f'is an artifact of kind "{given}", and one of kind "{kind}" is needed.'
        said = refused(*arguments, code=1, error=error, hint=f"Make it with: iadsr {kind}.")
        assert "read" not in said, "a large log was read before"

    wanted("align", "denoise", shop, "-o", "x.csv", "--model", made / "pretrain", given="pretrain")
    wanted("pretrain", "align", shop, "-o", "x", "--pretrained", made / "embed", given="embed")
    wanted(
        "embed", "align", shop, "-o", "x", "--pretrained", made / "pretrain", "--vectors", made / "align", given="align"
    )
    wanted("pretrain", "evaluate", shop, "--model", made / "embed", given="embed")


@pytest.mark.parametrize(
    "arguments",
    [
        ("denoise", "-o", "x.csv", "--model"),
        ("evaluate", "--model"),
        ("align", "-o", "x", "--pretrained"),
    ],
)
def test_an_artifact_that_is_not_what_it_should_be(refused, shop: Path, made: Path, arguments: tuple[str, ...]) -> None:
    command, *rest = arguments
    kind = "align" if command == "denoise" else "pretrain"
    before = [command, shop, *rest]
    refused(*before, "nowhere", code=1, error="There is no folder nowhere.", hint=f"iadsr {kind}")
    Path("bare").mkdir()
    refused(*before, "bare", code=1, error="bare holds no manifest.json", hint=f"iadsr {kind}")
    copy = Path(shutil.copytree(made / kind, "copy"))
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    (copy / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}), encoding="utf-8")
    error = "copy has schema version 99, and this is iadsr"
    refused(*before, copy, code=1, error=error, hint=f"Make it again with: iadsr {kind} --force.")
    (copy / "manifest.json").write_text("{", encoding="utf-8")
    refused(*before, copy, code=1, error="copy/manifest.json is damaged.", hint=f"iadsr {kind}")
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    refused(*before, copy, code=1, error="was changed after it was written", hint=f"iadsr {kind}")
    weights.unlink()
    refused(*before, copy, code=1, error="copy lacks its file weights.safetensors.", hint=f"iadsr {kind}")


def other_shop(shop: Path) -> Path:
    """A log whose items the model has never seen."""
    frame = pd.read_csv(shop)
    frame["item_id"] = "x" + frame["item_id"]
    frame.to_csv("other.csv", index=False)
    return Path("other.csv")


def test_a_model_that_shares_nothing_with_the_log(refused, shop: Path, made: Path) -> None:
    other = other_shop(shop)
    error = f"The model in {made / 'align'} knows none of the items in other.csv (it knows"
    refused("denoise", other, "-o", "x.csv", "--model", made / "align", code=1, error=error, hint="--item-column")


def test_a_model_of_another_log(refused, shop: Path, made: Path) -> None:
    shop.write_text(shop.read_text(encoding="utf-8") + "u0476,p0555,1899999999,view,again\n", encoding="utf-8")
    error, hint = "was made from another log, or this one has changed since.", "Make it again from this log"
    refused("evaluate", shop, "--model", made / "pretrain", code=1, error=error, hint=hint)
    refused("evaluate", shop, "--model", made / "align", code=1, error=error, hint=hint)
    refused("align", shop, "--pretrained", made / "pretrain", "-o", "x", code=1, error=error, hint=hint)


def test_vectors_of_other_items(refused, run, shop: Path, made: Path) -> None:
    assert run("embed", other_shop(shop), "--encoder", "tfidf", "-o", "vectors").exit_code == 0
    refused(
        "align",
        shop,
        "--pretrained",
        made / "pretrain",
        "--vectors",
        "vectors",
        "-o",
        "x",
        code=1,
        error="vectors has a vector for none of the log's 479 items.",
        hint="Give the vectors of this log's items",
    )


# Settings and machine.


@pytest.mark.parametrize(
    ("options", "error", "hint"),
    [
        (["--budget", "x"], '--budget cannot be "x".', "Give a share such as 5% or 0.05."),
        (["--budget", "500%"], '--budget cannot be "500%".', "Give a share such as 5% or 0.05."),
        (["--threshold", "2"], "--threshold is 2.0.", "at least 0 and at most 1"),
        (["--threshold", "nan"], "--threshold is nan.", "at least 0 and at most 1"),
        (["--min-item-rows", str(2**63)], f"--min-item-rows is {2**63}.", "at least 0 and at most 2147483647."),
        (["--window", "9" * 400], f"--window is {'9' * 400}.", "at least 2 and at most 2147483647."),
        (["--seed", "5000000000"], "--seed is 5000000000.", "at most 4294967295"),
        (["--seed", "x"], '--seed cannot be "x".', "Give a whole number."),
        (["--dropout", "x"], '--dropout cannot be "x".', "Give a number."),
        (["--device", "gpu"], '--device cannot be "gpu".', "Allowed: auto, cpu, cuda, mps. Nearest: cpu."),
        (["--encoder", "vectors:"], '--encoder cannot be "vectors:".', "Write --encoder vectors:FILE.parquet."),
        (["--encoder", "tfidf", "--encoder-prompt", "q: "], "has no use for --encoder-prompt.", "Leave out"),
        (["--budgt", "5%"], "No such option: --budgt.", "Did you mean --budget or"),
        (["--nonsense"], "No such option: --nonsense.", "See iadsr denoise --help."),
        (["again.csv"], "unexpected extra argument", "pattern in quotes: 'logs/*.csv'. See iadsr denoise --help."),
    ],
)
def test_a_wrong_setting(refused, shop: Path, options: list[str], error: str, hint: str) -> None:
    refused("denoise", shop, "-o", "clean.csv", *options, code=2, error=error, hint=hint)


def test_a_wrong_command(refused) -> None:
    refused("denois", code=2, error="No such command 'denois'.", hint="Did you mean 'denoise'? See iadsr --help.")
    refused("--verson", code=2, error="No such option: --verson.", hint="Did you mean --version")
    refused("denoise", code=2, error="Missing argument 'LOG'.", hint="See iadsr denoise --help.")
    refused("pretrain", "a.csv", code=2, error="Missing option '--output'", hint="See iadsr pretrain --help.")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("command", ["denoise", "embed", "pretrain", "evaluate"])
def test_a_device_that_is_not_there(refused, shop: Path, command: str) -> None:
    error = "--device cuda is not available on this machine."
    refused(command, shop, "-o", "out.csv", "--device", "cuda", code=2, error=error, hint="Usable here: auto, cpu")


def test_an_encoder_that_cannot_be_had(refused, shop: Path) -> None:
    for command in ("denoise", "embed"):
        text = refused(
            command, shop, "-o", "out.csv", "--encoder", "no-such/model", code=1, error="no-such/model", hint=""
        )
        for way_out in ("iadsr[offline]", "--encoder tfidf", "--encoder vectors:FILE.parquet"):
            assert way_out in text


def test_evaluating_what_chose_its_own_stop(refused, run, shop: Path) -> None:
    refused(
        "evaluate", shop, "--hold-out", "1", code=2, error="--hold-out 1 leaves no item to test", hint="--hold-out 2"
    )
    assert run("pretrain", shop, "-o", "gru", "--hold-out", "1", "--pretrain-epochs", "1").exit_code == 0
    refused(
        "evaluate",
        shop,
        "--model",
        "gru",
        code=1,
        error="The model in gru held out one item per user",
        hint="Make it again with --hold-out 2",
    )


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_nothing(run, shop: Path, monkeypatch) -> None:
    from iadsr_cli import training

    not_a_number = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr(training, "make_next_item_loss", lambda *_: lambda *_: not_a_number)
    result = run("denoise", shop, "-o", "clean.csv", *QUICK)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-2:] == [
        "error: The loss is no longer a number in epoch 1 of pretrain.",
        "hint: Lower --pretrain-learning-rate (it is 0.002).",
    ]
    assert not Path("clean.csv").exists()
    assert {path.parent.name for path in Path("cache").glob("*/*/manifest.json")} == {
        path.name for path in Path("cache/embed").iterdir()
    }
    assert not list(Path("cache").rglob(".*"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        pa.ArrowMemoryError("malloc of size 99 failed"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
    ids=repr,
)
def test_memory_that_does_not_suffice_is_no_defect(refused, shop: Path, monkeypatch, error: Exception) -> None:
    from iadsr_cli import pipeline

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "read_log", fail)
    said, hint = "There is not enough memory for this.", "denoise cleans a log in bounded memory with"
    refused("denoise", shop, "-o", "clean.csv", code=1, error=said, hint=hint)


def test_what_nobody_expected_is_told_in_two_lines_too(run, shop: Path, monkeypatch) -> None:
    from iadsr_cli import pipeline

    def fail(*_: object) -> None:
        raise RuntimeError("the moon is\nin the way")

    monkeypatch.setattr(pipeline, "read_log", fail)
    result = run("denoise", shop, "-o", "clean.csv")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: Unexpected RuntimeError: the moon is",
        "hint: This is a defect in iadsr. Run again with --debug and report what it prints.",
    ]
    debugged = run("denoise", shop, "-o", "clean.csv", "--debug")
    assert debugged.exit_code == 1
    assert "Traceback (most recent call last)" in debugged.stderr
    assert "RuntimeError: the moon is\nin the way" in debugged.stderr
    assert run("denoise", shop, "-o", "clean.csv", "--budget", "x", "--debug").exit_code == 2


def test_the_traceback_is_for_debug_only(iadsr, tmp_path: Path) -> None:
    plain, debugged = (iadsr("denoise", "none.csv", "-o", "x.csv", *extra) for extra in ([], ["--debug"]))
    assert b"Traceback" not in plain.communicate()[1]
    text = debugged.communicate()[1].decode()
    assert text.startswith("Traceback")
    assert "none.csv does not exist." in text
    assert plain.returncode == debugged.returncode == 1


def test_texts_for_a_model_that_has_its_own_are_refused(run, shop: Path) -> None:
    result = run("denoise", shop, "-o", "clean.csv", "--model", "model", "--items", "items.csv")
    assert result.exit_code == 2
    assert "--model brings its own item vectors, so --items has no use." in result.stderr
    assert "hint: Leave one of them out." in result.stderr
