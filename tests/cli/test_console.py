"""What a person sees: a log's own words are shown, and do nothing to the terminal."""

import pytest

from iadsr_cli.cli.console import Face, print_error
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
