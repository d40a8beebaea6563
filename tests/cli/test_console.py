"""What a person sees: a log's own words are shown, and do nothing to the terminal."""

from unittest.mock import Mock

import pytest
from rich.progress import Task

from iadsr_cli.cli.console import Face, _Speed, print_error
from iadsr_cli.errors import InputError

# Colours, the title of the window, a line of its own, text turned around, an emoji, markup, and the end of markup.
HOSTILE = "\x1b[31mred \x1b]0;title\x07 \x9b2J a\nb \u202etxt.exe\u2066 :smiley: [bold]x[/] \\"
SHOWN = r"\x1b[31mred \x1b]0;title\x07 \x9b2J a\nb \u202etxt.exe\u2066 :smiley: [bold]x[/]" + " \\"


@pytest.fixture
def face(monkeypatch: pytest.MonkeyPatch) -> Face:
    monkeypatch.setenv("COLUMNS", "200")
    return Face()


def test_words_of_a_log_are_printed_as_they_stand_and_steer_nothing(
    face: Face, capsys: pytest.CaptureFixture[str]
) -> None:
    face.note(HOSTILE)
    face.warn(HOSTILE)
    face.facts(HOSTILE, [("name", HOSTILE)])
    face.table(HOSTILE, ["", "n"], [[HOSTILE, "1"]])
    with face.stage("read", 1, "rows") as stage:
        stage.describe(HOSTILE)
        assert stage._progress.tasks[0].fields["detail"] == SHOWN
    print_error(InputError(HOSTILE, HOSTILE), trace=f"Traceback\n{HOSTILE.replace(chr(10), '')}\n")
    said = capsys.readouterr().err
    assert said.count(SHOWN) == 9
    assert said.count(SHOWN + "\\") == 0
    assert not [sign for sign in said if sign != "\n" and not sign.isprintable()]


@pytest.mark.parametrize(("total", "unit"), [(None, ""), (9, "rows")])
def test_a_unit_is_named_where_there_is_a_number_of_it(total: int | None, unit: str) -> None:
    shown = [str(_Speed("rows").render(Mock(Task, total=total, speed=speed))) for speed in (None, 1_234.4)]
    assert shown == [unit, "1,234 rows/s"]
