"""Help is quick, whole and documented."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from iadsr_cli import __version__
from iadsr_cli.cli.app import app

ROOT = typer.main.get_command(app)
COMMANDS: dict[str, Any] = ROOT.commands  # type: ignore[attr-defined]
README = Path(__file__).parents[2] / "README.md"
HEAVY = {"torch", "numpy", "pandas", "pyarrow", "sklearn", "scipy", "sentence_transformers", "transformers", "httpx"}


def options(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if parameter.param_type_name == "option"]


def help_of(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    return result.stdout


def test_the_commands_are_those_of_the_design() -> None:
    assert list(COMMANDS) == ["denoise", "embed", "pretrain", "align", "evaluate"]
    text = help_of()
    assert all(re.search(rf"^│ {name} +\w", text, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_option_has_help_and_shows_what_it_takes(name: str) -> None:
    for option in COMMANDS[name].params:
        assert option.help and option.help.endswith("."), option.name
        if option.param_type_name == "option" and not option.is_flag:
            assert re.fullmatch(r"[A-Z]+", option.metavar), option.name
    text = help_of(name)
    assert "list[" not in text
    assert "(., ,)" not in text, "signs are quoted"
    assert "<bool>" not in text, "nothing is given to a flag, Typer's own --help among them"


@pytest.mark.parametrize("name", COMMANDS)
def test_no_sentence_of_help_is_broken(name: str) -> None:
    # Typer keeps line ends within all paragraphs but the first.
    paragraphs = (COMMANDS[name].help or "").split("\n\n")
    assert not [paragraph for paragraph in paragraphs[1:] if "\n" in paragraph.strip()]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_ends_with_an_example_that_can_be_typed(name: str) -> None:
    arguments = [name] if name else []
    example = help_of(*arguments).rstrip().splitlines()[-1].strip()
    assert example.startswith("Example: iadsr ")
    typed = example.removeprefix("Example: iadsr ").split()
    command = COMMANDS[typed[0]]
    assert name in {"", typed[0]}
    command.make_context(typed[0], typed[1:], resilient_parsing=False)


def test_short_help_is_the_same() -> None:
    assert CliRunner().invoke(app, ["denoise", "-h"]).stdout == CliRunner().invoke(app, ["denoise", "--help"]).stdout


def test_no_arguments_show_the_help(run) -> None:
    result = run()
    assert result.exit_code == 2
    assert "Usage: iadsr" in result.stdout + result.stderr


def test_version(run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"iadsr {__version__}\n")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_imports_nothing_heavy(name: str) -> None:
    code = (
        "import sys\nfrom iadsr_cli.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(*{module.partition('.')[0] for module in sys.modules}, file=sys.stderr)"
    )
    arguments = [name] if name else []
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--help"], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stderr.split())
    assert "Usage: iadsr" in done.stdout


def test_help_is_quick() -> None:
    def seconds() -> float:
        start = os.times()
        subprocess.run([sys.executable, "-m", "iadsr_cli", "--help"], capture_output=True, check=True)
        end = os.times()
        # The process's own time: other work on the machine does not count.
        return end.children_user + end.children_system - start.children_user - start.children_system

    assert min(seconds() for _ in range(3)) < 0.6


def test_every_command_and_option_stands_in_the_readme() -> None:
    text = README.read_text(encoding="utf-8")
    if len(text.splitlines()) < 20:
        pytest.skip("the README is not written yet")
    docs = text + "".join(path.read_text(encoding="utf-8") for path in (README.parent / "docs").glob("*.md"))
    missing = [name for name in COMMANDS if f"iadsr {name}" not in text]
    for command in COMMANDS.values():
        for option in options(command):
            name = max(option.opts, key=len)
            if not re.search(rf"{name}(?![\w-])", docs):
                missing.append(name)
    assert sorted(set(missing)) == []


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("iadsr ", {"denoise", "embed", "pretrain", "align", "evaluate"}),
        ("iadsr de", {"denoise"}),
        ("iadsr denoise --device ", {"auto", "cpu", "cuda", "mps"}),
        ("iadsr denoise --device c", {"cpu", "cuda"}),
        ("iadsr denoise --output-format j", {"jsonl"}),
        ("iadsr pretrain --null-ids ", {"error", "keep"}),
        ("iadsr align --vec", {"--vectors"}),
    ],
)
def test_shells_can_complete(words: str, offered: set[str]) -> None:
    environment = {**os.environ, "_IADSR_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split(" ")) - 1)
    done = subprocess.run(
        [sys.executable, "-m", "iadsr_cli"], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stderr == ""
    assert set(done.stdout.split()) == offered


def test_completion_can_be_installed() -> None:
    environment = {**os.environ, "_IADSR_COMPLETE": "source_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "iadsr_cli"], env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert "complete -o default -F _iadsr_completion iadsr" in done.stdout
    assert "--install-completion" in help_of()


def test_no_help_is_taken_for_markup() -> None:
    helps = [option.help for command in COMMANDS.values() for option in options(command)]
    assert len(helps) > 50
    assert [text for text in helps if Text.from_markup(text).plain != text] == []
