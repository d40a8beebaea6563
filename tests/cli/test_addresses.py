"""Logs and outputs at addresses: as if they were here, and nothing half done is left there."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from iadsr_cli.remote import Staging

QUICK = ["--encoder", "tfidf", "--device", "cpu", "--budget", "5%"]


@pytest.fixture
def bucket() -> Iterator[MemoryFileSystem]:
    """A store without files."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


@pytest.fixture
def events(events: Path, bucket: MemoryFileSystem) -> Path:
    """The log in three files, here and at memory://bucket/events."""
    for path in events.rglob("*.csv"):
        bucket.put_file(str(path), f"/bucket/events/{path.relative_to(events).as_posix()}")
    bucket.pipe_file("/bucket/events/_SUCCESS", b"not fetched")
    return events


def below(bucket: MemoryFileSystem, folder: str) -> dict[str, bytes]:
    return {name.removeprefix(f"{folder}/"): bucket.cat_file(name) for name in bucket.find(folder)}


def left() -> list[Path]:
    return [path for path in Path("cache").rglob("*") if "remote" in path.parts and path.name != "remote"]


@pytest.mark.parametrize("parts", ["never", "always"])
def test_a_folder_gives_a_folder(run, events: Path, bucket: MemoryFileSystem, parts: str) -> None:
    options = [*QUICK, "--in-parts", parts]
    here = run("denoise", events, "-o", "clean/", "--removed", "gone.csv", *options)
    assert here.exit_code == 0, here.output
    there = run(
        "denoise",
        "memory://bucket/events/",
        "-o",
        "memory://bucket/clean/",
        "--removed",
        "memory://bucket/gone.csv",
        *options,
    )
    assert there.exit_code == 0, there.output
    assert "Wrote memory://bucket/clean/ and memory://bucket/gone.csv" in there.stderr
    assert "cache" not in there.stderr.replace("in the cache", "")
    expected = {path.relative_to("clean").as_posix(): path.read_bytes() for path in Path("clean").rglob("*.*")}
    assert below(bucket, "/bucket/clean") == expected
    assert bucket.cat_file("/bucket/gone.csv") == Path("gone.csv").read_bytes() != b""
    assert sorted(bucket.ls("/bucket", detail=False)) == ["/bucket/clean", "/bucket/events", "/bucket/gone.csv"]
    assert left() == []


@pytest.mark.usefixtures("scored")
def test_one_file_and_its_items(run, shop: Path, bucket: MemoryFileSystem) -> None:
    bucket.put_file(str(shop), "/bucket/shop.csv")
    assert run("denoise", shop, "-o", "clean.csv", *QUICK).exit_code == 0
    result = run("denoise", "memory://bucket/shop.csv", "-o", "memory://bucket/clean.csv", "--json", *QUICK)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["input"], summary["output"]) == ("memory://bucket/shop.csv", "memory://bucket/clean.csv")
    assert bucket.cat_file("/bucket/clean.csv") == Path("clean.csv").read_bytes()
    # A file is replaced, in one step, where that is asked for.
    result = run("denoise", "memory://bucket/shop.csv", "-o", "memory://bucket/clean.csv", "--force", *QUICK[:-1], "1%")
    assert result.exit_code == 0, result.output
    assert len(bucket.cat_file("/bucket/clean.csv")) > Path("clean.csv").stat().st_size
    result = run("denoise", "memory://bucket/shop.csv", "--dry-run", "--report", "report", *QUICK)
    assert result.exit_code == 0, result.output
    page = Path("report/report.html").read_text(encoding="utf-8")
    assert "memory://bucket/shop.csv" in page
    assert "/cache/" not in page
    result = run("embed", "memory://bucket/shop.csv", "-o", "vectors", "--encoder", "tfidf")
    assert result.exit_code == 0, result.output


def test_a_pattern(run, events: Path, bucket: MemoryFileSystem) -> None:
    def items(address: str) -> int:
        result = run("embed", address, "-o", "vectors", "--force", "--json", "--encoder", "tfidf")
        assert result.exit_code == 0, result.output
        return int(json.loads(result.stdout)["items"])

    def expected(*numbers: int) -> int:
        return pd.concat(
            [pd.read_csv(next(events.rglob(f"part-{number}.csv"))) for number in numbers]
        ).item_id.nunique()

    assert items("memory://bucket/events/*/part-[02].csv") == expected(0, 2)
    assert items("memory://bucket/e*/day=1") == expected(0, 1)
    # Names that only begin alike are others'.
    bucket.cp_file("/bucket/events/day=1/part-0.csv", "/bucket/events-2/part-0.csv")
    assert items("memory://bucket/events/") == expected(0, 1, 2)
    assert items(f"file://{events}/day=2") == expected(2)
    # A name that looks like a pattern is a name.
    bucket.cp_file("/bucket/events/day=1/part-0.csv", "/bucket/odd[01].csv")
    assert items("memory://bucket/odd[01].csv") == expected(0)


def test_errors_name_the_address(refused, events: Path, bucket: MemoryFileSystem) -> None:
    def check(log: str, error: str, hint: str, *arguments: str, code: int = 1) -> None:
        before = below(bucket, "/bucket")
        said = refused("denoise", log, *arguments, *QUICK, code=code, error=error, hint=hint)
        assert "/cache/" not in said
        assert below(bucket, "/bucket") == before

    check("memory://bucket/none.csv", "error: memory://bucket/none.csv does not exist.", "Check the address.")
    check("memory://bucket/e*/none", "error: memory://bucket/e*/none does not exist.", "Check the address.")
    bucket.pipe_file("/bucket/events/day=2/part-3.csv", b"user_id,item_id,title\nu,i,t\n")
    check(
        "memory://bucket/events",
        'error: memory://bucket/events/day=2/part-3.csv has no column "timestamp", which memory://bucket/events/day=1/',
        "mend the file",
        "-o",
        "clean/",
    )
    bucket.rm_file("/bucket/events/day=2/part-3.csv")
    clean = ["-o", "memory://bucket/events/clean/"]
    check("memory://bucket/events", "lies in the log itself", "Name another place", *clean)
    bucket.pipe_file("/bucket/out/a.csv", b"mine")
    check(
        "memory://bucket/events",
        "error: memory://bucket/out holds 1 files, and a folder at an address cannot be replaced in one step.",
        "Name another address, or remove what is there first.",
        "--force",
        "-o",
        "memory://bucket/out/",
    )
    one = ["-o", "memory://bucket/out/a.csv"]
    check("memory://bucket/events", "memory://bucket/out/a.csv exists.", "--force", *one)
    both = ["-o", "memory://bucket/b.csv", "--removed", "memory://bucket/b.csv"]
    check("memory://bucket/events", "Two outputs would go to memory://bucket/b.csv.", "another", *both, code=2)
    both = ["-o", "memory://bucket/new/", "--removed", "memory://bucket/new/b.csv"]
    check("memory://bucket/events", "memory://bucket/new/b.csv for the removed rows lies in", "another", *both, code=2)
    bucket.pipe_file("/bucket/items.csv", b"item_id,title\n")
    items = ["--items", "memory://bucket/items.csv", "-o", "memory://bucket/items.csv", "--force"]
    check("memory://bucket/events", "memory://bucket/items.csv is the file with the items' texts.", "another", *items)
    check(
        "memory://bucket/events", "Both the cleaned log and the report", "another", "-o", "r", "--report", "r", code=2
    )
    check("memory://bucket/events", "http://h/b.csv cannot be written to", "s3://", "-o", "http://h/b.csv", code=2)
    check("nonsense://a.csv", "nonsense://a.csv cannot be read: Protocol not known: nonsense", "Known: https", code=2)
    model = ["--model", "s3://bucket/model"]
    check(
        "memory://bucket/events", "--model has to be on this machine, and s3://bucket/model is", "here", *model, code=2
    )
    bucket.pipe_file("/bucket/odd/../a.csv", b"")
    check("memory://bucket/odd", "memory://bucket/odd holds '../a.csv', which cannot be", "Rename it")


def test_a_store_that_cannot_be_written(refused, events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("access denied\nwith details")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    error = "error: memory://bucket/clean cannot be written: access denied."
    refused("denoise", events, "-o", "memory://bucket/clean/", *QUICK, code=1, error=error, hint="your keys")


@pytest.mark.usefixtures("scored")
def test_a_folder_that_cannot_be_sent_leaves_nothing(
    run, events: Path, bucket: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file = MemoryFileSystem.put_file

    def fail(self: MemoryFileSystem, here: str, there: str, **options: object) -> None:
        if there.endswith("part-2.csv"):
            raise OSError("the network is gone")
        put_file(self, here, there, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", fail)
    before = below(bucket, "/bucket")
    result = run("denoise", "memory://bucket/events", "-o", "memory://bucket/clean", *QUICK)
    assert result.exit_code == 1
    assert "error: memory://bucket/clean cannot be written: the network is gone." in result.stderr
    assert below(bucket, "/bucket") == before
    assert left() == []


@pytest.mark.usefixtures("scored")
@pytest.mark.parametrize("fails", [False, True])
def test_what_somebody_else_puts_there_meanwhile_stays(
    run, events: Path, bucket: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    bucket.pipe_file("/bucket/clean/_iadsr.json", b'{"unfinished": true, "files": ["day=9/old.csv", "day=9/b.csv"]}')
    bucket.pipe_file("/bucket/clean/day=9/old.csv", b"half")
    deliver, put_file = Staging._deliver, MemoryFileSystem.put_file

    def late(self: Staging) -> None:
        bucket.pipe_file("/bucket/clean/others.csv", b"theirs")
        deliver(self)

    def put(self: MemoryFileSystem, here: str, there: str, **options: object) -> None:
        if fails and there.endswith("part-2.csv"):
            raise OSError("the network is gone")
        put_file(self, here, there, **options)

    monkeypatch.setattr(Staging, "_deliver", late)
    monkeypatch.setattr(MemoryFileSystem, "put_file", put)
    result = run("denoise", "memory://bucket/events", "-o", "memory://bucket/clean", *QUICK)
    assert result.exit_code == fails, result.output
    sent = [] if fails else ["_iadsr.json", "day=1/part-0.csv", "day=1/part-1.csv", "day=2/part-2.csv"]
    files = below(bucket, "/bucket/clean")
    assert sorted(files) == [*sent, "others.csv"]
    assert files["others.csv"] == b"theirs"


@pytest.mark.usefixtures("scored")
def test_what_a_killed_run_has_sent_is_replaced(run, events: Path, bucket: MemoryFileSystem) -> None:
    bucket.pipe_file("/bucket/clean/_iadsr.json", b'{"unfinished": true, "files": ["day=9/old.csv", "day=9/b.csv"]}')
    bucket.pipe_file("/bucket/clean/day=9/old.csv", b"half")
    result = run("denoise", "memory://bucket/events", "-o", "memory://bucket/clean", *QUICK)
    assert result.exit_code == 0, result.output
    files = below(bucket, "/bucket/clean")
    assert sorted(files) == ["_iadsr.json", "day=1/part-0.csv", "day=1/part-1.csv", "day=2/part-2.csv"]
    assert json.loads(files["_iadsr.json"])["files"] == sorted(files)[1:]


@pytest.mark.usefixtures("scored")
def test_a_run_that_is_killed_has_said_what_it_sends(
    run, events: Path, bucket: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file, left = MemoryFileSystem.put_file, []

    def look(self: MemoryFileSystem, here: str, there: str, **options: object) -> None:
        put_file(self, here, there, **options)
        left.append(below(bucket, "/bucket/clean"))

    monkeypatch.setattr(MemoryFileSystem, "put_file", look)
    assert run("denoise", "memory://bucket/events", "-o", "memory://bucket/clean", *QUICK).exit_code == 0
    assert len(left) == 4
    for files in left[:-1]:
        told = json.loads(files["_iadsr.json"])
        assert told["unfinished"] is True
        assert {*files} <= {"_iadsr.json", *told["files"]}


@pytest.mark.parametrize("files", ["", ', "files": ["day=9/old.csv"]', ', "files": 3'])
def test_what_no_killed_run_has_sent_stays(refused, events: Path, bucket: MemoryFileSystem, files: str) -> None:
    bucket.pipe_file("/bucket/clean/_iadsr.json", f'{{"unfinished": true{files}}}'.encode())
    bucket.pipe_file("/bucket/clean/mine.csv", b"mine")
    for force in ([], ["--force"]):
        refused(
            "denoise",
            events,
            "-o",
            "memory://bucket/clean",
            *force,
            *QUICK,
            code=1,
            error="error: memory://bucket/clean ",
            hint="Name another address, or ",
        )
    assert below(bucket, "/bucket/clean")["mine.csv"] == b"mine"


@pytest.mark.usefixtures("scored")
@pytest.mark.parametrize(
    ("appears", "error"),
    [
        ("gone.csv", "memory://bucket/gone.csv exists."),
        ("clean/day=2/part-2.csv", "clean holds day=2/part-2.csv by now"),
    ],
)
def test_a_file_that_appears_at_an_address_meanwhile_stays(
    run, events: Path, bucket: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch, appears: str, error: str
) -> None:
    deliver = Staging._deliver

    def late(self: Staging) -> None:
        bucket.pipe_file(f"/bucket/{appears}", b"theirs")
        deliver(self)

    monkeypatch.setattr(Staging, "_deliver", late)
    before = below(bucket, "/bucket")
    outputs = ["-o", "memory://bucket/clean/", "--removed", "memory://bucket/gone.csv"]
    result = run("denoise", "memory://bucket/events", *outputs, *QUICK)
    assert result.exit_code == 1
    assert error in result.stderr
    assert below(bucket, "/bucket") == {**before, appears: b"theirs"}


@pytest.mark.usefixtures("scored")
def test_a_log_that_changes(run, events: Path, bucket: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    from iadsr_cli import pipeline

    denoise = pipeline.denoise

    def change(*arguments: object) -> object:
        bucket.pipe_file("/bucket/events/day=2/part-2.csv", b"user_id,item_id\n")
        return denoise(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "denoise", change)
    result = run("denoise", "memory://bucket/events", "-o", "clean", *QUICK)
    assert result.exit_code == 0, result.output
    assert "warning: memory://bucket/events was changed since it was copied" in result.stderr
    assert sum(len(path.read_text().splitlines()) - 1 for path in Path("clean").rglob("*.csv")) > 1000


def test_a_store_that_is_not_installed(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    error = "error: s3://bucket/log.csv cannot be read: what reads s3:// is not installed"
    refused("denoise", "s3://key:word@bucket/log.csv", code=1, error=error, hint="Install it: pip install s3fs.")


@pytest.fixture
def server(shop: Path) -> Iterator[str]:
    """A web server that has the log at /shop.csv, and sends on from /moved.csv."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", "/shop.csv")
                self.end_headers()
                return
            self.send_response(200 if self.path.startswith("/shop.csv") else 404)
            self.end_headers()
            self.wfile.write(shop.read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.usefixtures("scored")
def test_a_web_server(run, server: str, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    assert run("denoise", shop, "-o", "here.csv", *QUICK).exit_code == 0
    for name in ("shop.csv?key=secret", "moved.csv"):
        result = run("denoise", f"http://me:secret@{server}/{name}", "-o", "clean.csv", "--force", *QUICK)
        assert result.exit_code == 0, result.output
        assert f"http://{server}/{name.partition('?')[0]} (csv)" in result.stderr
        assert "secret" not in result.stderr
        assert Path("clean.csv").read_bytes() == Path("here.csv").read_bytes()


def test_a_web_server_that_refuses(refused, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    for address, code, error, hint in (
        (
            f"http://{server}/none.csv?key=secret",
            1,
            "/none.csv cannot be read: the server answers 404 Not Found.",
            "login",
        ),
        (f"http://{server}/logs/", 2, f"http://{server}/logs/ is not the address of one file.", "does not tell"),
        ("http://127.0.0.1:1/log.csv", 1, "http://127.0.0.1:1/log.csv cannot be read: ", "Check the address and the"),
    ):
        said = refused("denoise", address, "--format", "csv", code=code, error=error, hint=hint)
        assert "secret" not in said
