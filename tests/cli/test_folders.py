"""`iadsr denoise` on a folder of files: a folder out, or one file; errors before any work."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

QUICK = ["--encoder", "tfidf", "--device", "cpu", "--budget", "5%"]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.csv"))


def test_a_folder_gives_a_folder(run, events: Path, shop: Path) -> None:
    result = run("denoise", events, "-o", "clean/", "--removed", "removed.csv", *QUICK)
    assert result.exit_code == 0, result.output
    assert "files  3 (1 passed over: hidden, or names that begin with _)" in result.stderr
    assert "Wrote clean/ and removed.csv" in result.stderr
    sources = files(events)
    kept = files(Path("clean"))
    assert [path.relative_to("clean") for path in kept] == [path.relative_to(events) for path in sources]
    # The same log in one file loses the same rows.
    result = run("denoise", shop, "-o", "one.csv", "--removed", "gone.csv", *QUICK)
    assert result.exit_code == 0, result.output
    header, *one = Path("one.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    pieces = [path.read_text(encoding="utf-8").splitlines(keepends=True) for path in kept]
    assert [piece[0] for piece in pieces] == [header] * 3
    assert [line for piece in pieces for line in piece[1:]] == one
    removed, gone = pd.read_csv("removed.csv"), pd.read_csv("gone.csv")
    assert 0 < len(removed) == 1500 - len(one)
    assert set(removed["day"]) <= {1, 2}
    pd.testing.assert_frame_equal(removed.drop(columns="day"), gone)


def test_a_folder_in_one_file_and_annotated(run, events: Path) -> None:
    result = run("denoise", events / "*" / "*.csv", "-o", "all.parquet", "--annotate", *QUICK)
    assert result.exit_code == 0, result.output
    table = pq.read_table("all.parquet")
    assert table.num_rows == 1500
    assert table.column_names[-4:] == ["day", "noise_score", "keep", "reason"]
    result = run("denoise", events, "-o", "scored", "--annotate", *QUICK)
    assert result.exit_code == 0, result.output
    scored = pd.concat([pd.read_csv(path) for path in files(Path("scored"))])
    assert scored["keep"].tolist() == table["keep"].to_pylist()
    assert list(scored)[-3:] == ["noise_score", "keep", "reason"]


def test_partitions_order_the_rows(run, shop: Path) -> None:
    frame = pd.read_csv(shop).sort_values("timestamp", kind="stable")
    for day, part in frame.groupby(frame["timestamp"] // 86400 // 30):
        path = Path(f"hive/month={day:05d}/p.parquet")
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pandas(part.drop(columns="timestamp"), preserve_index=False), path)
    result = run("denoise", "hive", "-o", "clean", "--time-column", "month", *QUICK)
    assert result.exit_code == 0, result.output
    assert "order  month (order), ties in file order" in result.stderr
    before, after = pq.read_table("hive"), pq.read_table("clean")
    assert after.schema.equals(before.schema)
    assert 0 < after.num_rows < before.num_rows


def test_errors_before_any_work(refused, events: Path) -> None:
    Path("mine").mkdir()
    Path("mine/a.txt").touch()
    cases = {
        "mine": ("The output folder mine exists.", "pass --force"),
        "events/clean": ("events/clean lies in the log itself", "another place"),
        "events/all.csv": ("events/all.csv lies in the log itself", "another place"),
    }
    for target, (error, hint) in cases.items():
        refused("denoise", "events", "-o", target, code=1, error=error, hint=hint)
    refused("denoise", "events", "-o", "mine", "--force", code=1, error="mine holds no _iadsr.json", hint="another")
    refused("denoise", "events", "-o", "c", "--removed", "events/r.csv", code=1, error="lies in the log", hint="place")
    (events / "README.md").touch()
    refused("denoise", "events", "-o", "clean", code=1, error="several formats: 3 .csv, 1 .md.", hint="/**/*.csv'")
    (events / "README.md").unlink()
    (events / "day=1" / "z.csv").write_text("user_id,item_id\n1,2\n")
    error = 'events/day=1/z.csv has no column "timestamp", which events/day=1/part-0.csv has.'
    refused("denoise", "events", "-o", "clean", code=1, error=error, hint="mend the file")
    assert not Path("clean").exists()


def test_force_replaces_what_iadsr_wrote(run, events: Path) -> None:
    for _ in range(2):
        result = run("denoise", events, "-o", "clean", "--force", "--quiet", *QUICK)
        assert result.exit_code == 0, result.output
    result = run("denoise", "clean", "-o", "clean", "--force", "--quiet", *QUICK)
    assert result.exit_code == 0, result.output
    assert len(files(Path("clean"))) == 3
