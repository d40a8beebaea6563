"""What commands say of their outcome, where the log's own words would break it."""

import pytest
from rich.cells import cell_len

from iadsr_cli.cli.console import Face
from iadsr_cli.cli.views import _estimated, _show_auroc, show_history
from iadsr_cli.config import NOISE_KINDS, SCORERS
from iadsr_cli.explanations import ExplainedRow

TITLES = ["a\nb\nc", "Rim tape \\", "超长的中文标题测试商品非常好用的自行车轮胎和配件", "W" * 200, ":bike: [bold]"]


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("names", [("long text", "item text", "both here"), ("text", "words", "together", "expected")])
def test_a_row_of_a_history_is_one_line_of_the_terminal(
    width: int, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [
        ExplainedRow(number, "i", title, 0.5, dict.fromkeys(names, 0.5), "protected: so it is")
        for number, title in enumerate(TITLES)
    ]
    show_history(Face(), "u\n1", rows)
    said = capsys.readouterr().err
    lines = said.splitlines()
    assert "user u\\n1, oldest" in lines[0]
    table = [line for line in lines if " 0.50 " in line]
    assert all(line.endswith("protected ") and cell_len(line) <= width for line in table), said
    assert [line.split()[0] for line in table][::2] == ["a\\nb\\nc", table[2].split()[0], ":bike:"]
    assert len(table) == len(rows)
    assert "Rim tape \\ " in table[1]
    assert "…" in table[3]


def test_beneath_a_history_stands_what_speaks_against_rows_whether_they_go_or_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reasons = ["removed: a", "protected: b", "protected by --protect-last 2: c", "kept by --budget: d", "kept: e"]
    show_history(Face(), "u", [ExplainedRow(row, "i", None, 0.9, {}, each) for row, each in enumerate(reasons)])
    said = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert said[-4:] == ["i: a", "i: b", "i: protected by --protect-last 2: c", "i: kept by --budget: d"]


@pytest.mark.parametrize(("width", "tables"), [(80, 2), (100, 2), (160, 1)])
def test_all_kinds_of_noise_and_all_scorers_can_be_read(
    width: int, tables: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    records = [
        {"scorer": scorer, "kind": kind, "rate": "10%", "auroc": None if scorer == "svd" else 0.5 + number / 10}
        for scorer in SCORERS
        for number, kind in enumerate(NOISE_KINDS)
    ]
    _show_auroc(Face(), records)
    said = capsys.readouterr().err
    assert max(map(len, said.splitlines())) <= width
    headers = [line.split()[1:] for line in said.splitlines() if line.split()[:1] == ["noise"]]
    assert [name for header in headers for name in header] == list(SCORERS)
    assert len(headers) == tables
    for number, kind in enumerate(NOISE_KINDS):
        rows = [line.split()[2:] for line in said.splitlines() if line.split()[:2] == [kind, "10%"]]
        figures = [figure for row in rows for figure in row]
        assert figures == ["-" if scorer == "svd" else f"{0.5 + number / 10:.3f}" for scorer in SCORERS]


@pytest.mark.parametrize(
    ("rows", "gone", "cutoff", "explained"),
    [
        (2_000, 4, 0.5, "it had 5,000 rows more, all genuine"),
        (19_000, 4, 0.5, "it had 5,000 rows more, all genuine"),
        (21_000, 4, 0.5, "less goes, as of most of it nothing tells which rows it is"),
        (2_000, 40, 0.5, "3.5% of the scored rows"),  # and as many are protected
        (2_000, 4, 0.9, "3.5% of the scored rows"),
        (2_000, 4, None, "3.5% of the scored rows"),
    ],
)
def test_an_estimate_that_the_rows_do_not_bear_out_is_explained(
    rows: int, gone: int, cutoff: float | None, explained: str
) -> None:
    facts = {"rows": rows + 9, "unscored": 9, "removed": gone // 2, "protected": gone // 2}
    assert _estimated({**facts, "estimated_noise_share": 0.035}, cutoff).endswith(explained)
