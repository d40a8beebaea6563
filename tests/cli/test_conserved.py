"""The whole command on generated logs: what is kept and what is removed are the log."""

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

USERS = [
    "-9223372036854775808",
    "9223372036854775807",
    "007",
    "7",
    "1.0",
    'é,"\n',
    "null",
    "true",
    " ",
    "\ufeff",
    "-0",
    "[red]",
]
TIMES = {
    "s": st.integers(10**9, 2 * 10**9).map(str),
    "ns": st.integers(10**18, 2 * 10**18).map(str),
    "fractions": st.integers(10**9, 2 * 10**9).map(lambda seconds: f"{seconds}.25"),
    "calendar": st.datetimes().map(lambda time: time.isoformat()),
    "days": st.dates().map(str),
    "order": st.integers(-5, 5).map(str),
    "same": st.just("0"),
}


@st.composite
def logs(draw: st.DrawFn) -> list[dict[str, str]]:
    """Return the rows of a log: a few users with odd ids, some with one row, one with many, some rows twice."""
    users = draw(st.lists(st.sampled_from(USERS), min_size=5, max_size=10, unique=True))
    items = draw(st.lists(st.text('ab,"\n\té0', min_size=1, max_size=3), min_size=10, max_size=20, unique=True))
    titles = {item: draw(st.sampled_from(["", "red shoes", "a 'quoted', title", "x" * 300, "靴\n"])) for item in items}
    times = TIMES[draw(st.sampled_from(sorted(TIMES)))]
    lengths = [20, 6, 6, *(draw(st.sampled_from([1, 2, 6])) for _ in users[3:])]
    rows = [
        {
            "user_id": user,
            "item_id": (item := items[number] if number < 2 else draw(st.sampled_from(items))),
            "time": draw(times),
            "title": titles[item],
        }
        for user, length in zip(users, lengths, strict=True)
        for number in range(length)
    ]
    rows += rows[: draw(st.integers(0, 3))]
    return draw(st.permutations(rows))


def written(rows: list[dict[str, str]], path: Path) -> None:
    names = list(rows[0])
    if path.suffix == ".parquet":
        pq.write_table(pa.table({name: [row[name] for row in rows] for name in names}), path, row_group_size=7)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(rows)
        path.write_bytes(gzip.compress(text.getvalue().encode()))


def read(path: Path) -> list[dict[str, str]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode(), newline="")))


@pytest.mark.slow
@settings(deadline=None, max_examples=15, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(
    rows=logs(), suffix=st.sampled_from([".csv.gz", ".jsonl", ".parquet"]), budget=st.sampled_from(["10%", "50%", None])
)
def test_denoise_conserves_every_row(run, tmp_path: Path, rows: list[dict[str, str]], suffix: str, budget) -> None:
    source, kept, removed = (tmp_path / f"{name}{suffix}" for name in ("log", "kept", "removed"))
    written(rows, source)
    options = ["--encoder", "tfidf", "--force", "--json"]
    if budget:
        options += ["--budget", budget, "--min-user-rows", "0"]
    for path in (kept, removed):
        path.unlink(missing_ok=True)
    result = run("denoise", source, "-o", kept, "--removed", removed, *options)
    if "nothing can be injected as noise" in result.stderr:  # seldom: there has to be something to learn from
        assert result.exit_code == 1
        assert not kept.exists()
        assert not removed.exists()
        return
    assert result.exit_code == 0, result.output
    stay, gone = read(kept), read(removed)
    for row in gone:
        assert 0 <= float(row.pop("noise_score")) <= 1
        assert row.pop("reason").startswith("removed: ")
    summary = json.loads(result.stdout)
    assert (len(stay), len(gone)) == (summary["kept"], summary["removed"])
    # Both are in the log's order, and the log is the two of them: twins are alike, so any of them may be the one.
    ways = {(0, 0)}
    for row in rows:
        ways = {
            step
            for kept_rows, gone_rows in ways
            for step, part, index in (
                ((kept_rows + 1, gone_rows), stay, kept_rows),
                ((kept_rows, gone_rows + 1), gone, gone_rows),
            )
            if index < len(part) and part[index] == row
        }
    assert ways == {(len(stay), len(gone))}
