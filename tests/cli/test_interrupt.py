"""Ctrl-C: nothing half written, nothing lost that was finished."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import INTERRUPTIBLE

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")

SLOW = ["--encoder", "tfidf", "--pretrain-epochs", "1", "--align-epochs", "500", "--patience", "500", "--device", "cpu"]
QUICK = [
    "--method",
    "iadsr",
    "--encoder",
    "tfidf",
    "--pretrain-epochs",
    "1",
    "--align-epochs",
    "1",
    "--device",
    "cpu",
    "--patience",
    "500",
]


def test_a_run_ends_with_its_code_before_the_interpreter_is_taken_down() -> None:
    program = """
import atexit, sys, threading, time
from iadsr_cli.cli.ending import ending_at_once

class Left:
    def __del__(self):
        print("taken down", flush=True)

left = Left()
left.itself = left
with ending_at_once():
    atexit.register(print, "exit functions have run")
    threading.Thread(target=lambda: (time.sleep(0.2), print("threads have ended"))).start()
    print("said without a flush")
    sys.exit(3)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert done.stdout.splitlines() == ["said without a flush", "threads have ended", "exit functions have run"]
    assert done.stderr == ""


def test_an_interrupt_while_the_command_is_loaded_ends_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(20)\nprint('not interrupted')\n"
    )
    command = [sys.executable, "-m", "iadsr_cli", "--version"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        preexec_fn=INTERRUPTIBLE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_before_the_command_line_is_looked_at_ends_with_its_code() -> None:
    program = """
import os, signal, sys
from iadsr_cli.cli import app

app.stand_in_for_closed_streams = lambda: os.kill(os.getpid(), signal.SIGINT)
app.main()
"""
    command = [sys.executable, "-c", program, "--version"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, preexec_fn=INTERRUPTIBLE)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def wait_for(folder: Path, process) -> None:
    """Wait until a stage has left its artifact in the cache."""
    end = time.monotonic() + 60
    while not list(folder.glob("*/manifest.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def interrupt(process) -> list[str]:
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert out == b""
    text = error.decode()
    assert process.returncode == 130, text
    assert "Traceback" not in text
    return text.splitlines()


MESSAGE = [
    "error: Interrupted: every output is whole or as it was before.",
    "hint: Run the same command again (pretrain, align: with --resume): what was finished is not made twice.",
]


def test_an_interrupted_denoise(iadsr, run, tmp_path: Path, shop: Path) -> None:
    output = tmp_path / "clean.csv"
    output.write_text("precious", encoding="utf-8")
    before = sorted(path.name for path in tmp_path.iterdir())
    arguments = ["denoise", shop, "-o", output, "--removed", "gone.csv", "--force", "--method", "iadsr"]
    process = iadsr(*arguments, *SLOW)
    wait_for(tmp_path / "cache" / "pretrain", process)
    time.sleep(0.3)
    assert interrupt(process)[-2:] == MESSAGE
    assert output.read_text(encoding="utf-8") == "precious"
    assert sorted({path.name for path in tmp_path.iterdir()} - {"cache"}) == before
    cache = tmp_path / "cache"
    assert {path.parent.parent.name for path in cache.rglob("manifest.json")} == {"embed", "pretrain"}
    drafts = [path for path in cache.rglob(".*") if path.suffix != ".checkpoint"]
    assert drafts == [], "a draft was left behind"

    again = run(*arguments, *QUICK, "--json")
    assert again.exit_code == 0, again.output
    said = json.loads(again.stdout)
    assert set(said["seconds"]) == {"read", "align", "score", "write"}, "embed and pretrain were made twice"
    assert said["warnings"] == []
    assert output.read_text(encoding="utf-8").startswith("user_id,")


def test_an_interrupted_stage_keeps_the_folder_that_was_there(iadsr, run, tmp_path: Path, shop: Path) -> None:
    assert run("pretrain", shop, "-o", "gru", "--pretrain-epochs", "1").exit_code == 0
    before = {path.name: path.read_bytes() for path in Path("gru").iterdir()}
    others = sorted(path.name for path in tmp_path.iterdir())
    slow = ["--pretrain-epochs", "5000", "--patience", "5000"]
    process = iadsr("pretrain", shop, "-o", "gru", "--force", "--debug", *slow, bufsize=0)
    seen = b""
    while b"text " not in seen:  # the last line of what was understood; training comes next
        chunk = process.stderr.read(200)
        assert chunk, seen
        seen += chunk
    time.sleep(1.5)
    assert interrupt(process)[-2:] == MESSAGE
    assert {path.name: path.read_bytes() for path in Path("gru").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == others


def test_an_interrupt_while_writing(run, tmp_path: Path, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    output = tmp_path / "clean.csv"
    output.write_text("precious", encoding="utf-8")
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr(os, "fsync", interrupted)
    result = run("denoise", shop, "-o", output, "--force", *QUICK)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-2:] == MESSAGE
    assert output.read_text(encoding="utf-8") == "precious"
    assert sorted({path.name for path in tmp_path.iterdir()} - {"cache"}) == before


def test_an_interrupt_inside_code_that_is_made_up(tmp_path: Path) -> None:
    code = """
import sys, typer
from iadsr_cli.cli import console
from iadsr_cli.cli.manners import Manners, end_on_signals

end_on_signals()
try:
    with Manners(debug=False):
        exec("import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(5)")
except typer.Exit as error:
    sys.exit(error.exit_code)
"""
    (tmp_path / "made_up.py").write_text(code, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "made_up"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        preexec_fn=INTERRUPTIBLE,  # noqa: PLW1509
    ) as process:
        assert process.communicate(timeout=30)[1].decode().splitlines() == MESSAGE
    assert process.returncode == 130


def test_an_interrupt_while_reading_standard_input(iadsr, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    process = iadsr("denoise", "-", "-o", "clean.csv", stdin=ours)
    time.sleep(2)
    assert process.poll() is None
    lines = interrupt(process)
    os.close(ours)
    os.close(theirs)
    assert lines[-2:] == MESSAGE
    assert not list(tmp_path.iterdir())
