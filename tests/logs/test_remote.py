"""Logs at an address: read whole, recognised by their names, with errors that say what to do."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pytest

from iadsr_cli.config import LogSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.reader import read_log
from iadsr_cli.logs.remote import is_remote, without_secrets
from iadsr_cli.logs.writer import write_rows
from iadsr_cli.outputs import OutputPlan

CSV = b"user_id,item_id\n1,2\n3,4\n"


@pytest.fixture
def server():
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", "/log.csv")
                self.end_headers()
                return
            self.send_response(200 if self.path.startswith("/log.csv") else 404)
            self.end_headers()
            self.wfile.write(CSV)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_http(server, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    log = read_log(f"http://me:secret@{server}/log.csv?key=secret", LogSettings())
    assert log.name == f"http://{server}/log.csv"
    assert log.user_ids().to_pylist() == ["1", "3"]
    write_rows(log, str(tmp_path / "out.csv"), np.array([1]))
    assert (tmp_path / "out.csv").read_bytes() == b"user_id,item_id\n3,4\n"
    assert read_log(f"http://{server}/moved.csv", LogSettings()).num_rows == 2
    with pytest.raises(InputError, match=r"/none.csv cannot be read: the server answers 404 Not Found\."):
        read_log(f"http://{server}/none.csv?key=secret", LogSettings())
    with pytest.raises(UsageError, match=r"is not the address of one file\."):
        read_log(f"http://{server}/logs/", LogSettings(format="csv"))


def test_nobody_answers(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(InputError, match=r"http://127.0.0.1:1/log.csv cannot be read: .+") as caught:
        read_log("http://127.0.0.1:1/log.csv", LogSettings())
    assert caught.value.hint == "Check the address and the network."


def test_stores():
    with fsspec.open("memory://bucket/log.csv", "wb") as file:
        file.write(CSV)
    assert read_log("memory://bucket/log.csv", LogSettings()).item_ids().to_pylist() == ["2", "4"]
    with pytest.raises(InputError, match=r"memory://bucket/none.csv does not exist\."):
        read_log("memory://bucket/none.csv", LogSettings())
    with pytest.raises(UsageError, match=r"nonsense://a.csv cannot be read: Protocol not known: nonsense"):
        read_log("nonsense://a.csv", LogSettings())


def test_a_store_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"s3://bucket/log.csv cannot be read: what reads s3:// is not") as caught:
        read_log("s3://bucket/log.csv", LogSettings())
    assert caught.value.hint == "Install it: pip install s3fs."


def test_a_stores_own_errors(monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("access denied\nwith details")

    monkeypatch.setattr(fsspec, "open", refuse)
    with pytest.raises(InputError, match=r"s3://bucket/log.csv cannot be read: access denied\.") as caught:
        read_log("s3://bucket/log.csv", LogSettings())
    assert "your keys" in caught.value.hint


def test_outputs_are_local():
    for output, removed in (("s3://key@bucket/clean/", None), ("clean.csv", "s3://bucket/removed.csv")):
        plan = OutputPlan(output=output, removed=removed, annotate=False, format="auto", force=False)
        with pytest.raises(UsageError, match=r"^s3://bucket/\S+ is not a file of this machine, and outputs are\."):
            plan.check("log.csv", terminal=False)


def test_addresses():
    assert not any(map(is_remote, ["-", "log.csv", "a/b:c//d", "C:/log.csv"]))
    assert without_secrets("s3://key:word@bucket/a.csv?versionId=1") == "s3://bucket/a.csv"
