"""Rows that stray quotes glue together are warned of, and texts with line breaks are not."""

from pathlib import Path

import pytest

from iadsr_cli.config import LogSettings
from iadsr_cli.logs import blocks
from iadsr_cli.logs.parted_reader import open_parts
from iadsr_cli.logs.reader import read_items, read_log
from iadsr_cli.progress import Silent

BARE = LogSettings(header=False, columns="user_id,time,item_id,artist,title")


class Recorder(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        """Begin with none."""
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Keep it."""
        self.warnings.append(text)


def warned(source: Path, used: LogSettings) -> list[str]:
    """What is said of a log, in memory and, in the same words, in parts."""
    recorder = Recorder()
    parted = open_parts(str(source), used, recorder)
    memory = read_log(str(source), used)
    assert parted.num_rows == memory.num_rows
    assert list(memory.warnings) == recorder.warnings
    return recorder.warnings


def plays(titles: dict[int, str], rows: int = 40, end: str = "\n") -> bytes:
    """A log as Last.fm gives it: tabs between fields, and quotes that quote nothing."""
    lines = [
        f"user_{n // 9:06}\t2009-05-04T23:{n:02}:57Z\tf1b1cf71-{n:04}\tDeep Dish\t{titles.get(n, f'Song {n}')}"
        for n in range(rows)
    ]
    return "".join(line + end for line in lines).encode()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few lines."""
    monkeypatch.setattr(blocks, "BLOCK", 300)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\r"])
def test_rows_that_quotes_glue_together_are_warned_of(tmp_path: Path, end: str) -> None:
    source = tmp_path / "plays.tsv"
    source.write_bytes(plays({3: '"Heroes', 7: 'Theme 12"', 20: '"Live', 21: 'B-Side 7"'}, end=end))
    (warning,) = warned(source, BARE)
    line = 3 * len(end.replace("\r\n", "\n")) + 1
    assert warning == (
        f"{source}, line {line}: a quote begins here and ends in a later line, but each of these lines has all 5 "
        "fields by itself. 2 such records hide 5 rows: if quotes quote nothing here, add --quote-char none."
    )
    used = LogSettings(header=False, columns=BARE.columns, quote_char="none")
    assert not warned(source, used)
    assert read_log(str(source), used).num_rows == read_log(str(source), BARE).num_rows + 5


def test_lines_are_counted_on_over_the_files_of_a_log_and_after_its_header(tmp_path: Path) -> None:
    folder = tmp_path / "plays"
    folder.mkdir()
    header = b"user_id\ttime\titem_id\tartist\ttitle\n"
    (folder / "a.tsv").write_bytes(header + plays({}))
    (folder / "b.tsv").write_bytes(header + plays({30: '"Heroes', 31: '12"'}))
    (folder / "c.tsv").write_bytes(header + plays({5: '"Heroes', 6: '12"'}))
    (warning,) = warned(folder, LogSettings())
    assert warning.startswith(f"{folder / 'b.tsv'}, line 32: a quote begins here")
    assert "2 such records hide 2 rows" in warning


@pytest.mark.parametrize(
    "texts",
    [
        ["Good.\nReally."],
        ["It came late,\nwas torn, and smelled, too.\n\nNever again, never, ever."],
        ["It broke, alas, soon\nI sent it, at once, back\nThey paid, at last, me"],
        ["One,\ntwo,\nthree"],
        # By chance one of them has as many commas as a row.
        ["Small\nbut,nice,still", "One\ntwo", "Well,\nwell"],
    ],
)
def test_texts_with_line_breaks_are_not(tmp_path: Path, texts: list[str]) -> None:
    source = tmp_path / "reviews.csv"
    source.write_text("user_id,item_id,text\n" + "".join(f'u{n},{n},"{text}"\n' for n, text in enumerate(texts)))
    assert not warned(source, LogSettings())


def test_blank_lines_between_records_are_no_lines_of_theirs(tmp_path: Path) -> None:
    source = tmp_path / "log.csv"
    source.write_text('user_id,item_id,title\n\n1,2,"Tea, green"\n\n\n1,3,"Cup"\n\n')
    assert not warned(source, LogSettings())


def test_a_glued_file_of_items_is_warned_of(tmp_path: Path) -> None:
    source = tmp_path / "items.tsv"
    source.write_text('item_id\tartist\ttitle\n1\tA\t"Heroes\n2\tB\tSong 12"\n3\tC\tOther\n')
    (warning,) = read_items(str(source), LogSettings()).warnings
    assert "line 2: a quote begins here" in warning
    assert "This record hides a row: if quotes" in warning
