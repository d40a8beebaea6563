"""What commands say of their outcome, where the log's own words would break it."""

import pytest
from rich.cells import cell_len

from iadsr_cli.cli.console import Face
from iadsr_cli.cli.views import show_history
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
