"""Cleaning in parts: the same rows, values and summary as in memory, whatever the sizes of parts and buckets."""

import csv
import gzip
import json
import math
import pickle
import resource
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner, Result

from iadsr_cli import artifacts, crossfit
from iadsr_cli.cli.app import app
from iadsr_cli.config import Config, DecisionSettings, LogSettings, ProtectionSettings
from iadsr_cli.crossfit import head
from iadsr_cli.decisions import BestOfItems, within_limits
from iadsr_cli.logs import blocks, formats, parted_reader
from iadsr_cli.logs import parts as log_parts
from iadsr_cli.parted import buckets, judging, scorers, verdicts
from iadsr_cli.parted import found as parted_found
from iadsr_cli.parted.found import Found, write_found
from iadsr_cli.progress import Silent
from iadsr_cli.scores import Scores
from iadsr_cli.sequences import Sequences, make_sequences

ROWS, USERS = 3_000, 250


def shelves(rows: int = ROWS, users: int = USERS) -> tuple[pa.Table, np.ndarray]:
    """Users who keep to one of five shelves but for a tenth of their rows, which are labelled."""
    generator = np.random.default_rng(0)
    user = generator.integers(0, users, rows)
    strange = generator.random(rows) < 0.1
    item = np.where(strange, generator.integers(0, 60, rows), (user % 5) * 12 + generator.integers(0, 12, rows))
    table = pa.table(
        {
            "note": pa.array([f"n{n}" if n % 7 else None for n in range(rows)]).dictionary_encode(),
            "user_id": [f"u{each}" for each in user],
            "item_id": pa.array(item.astype(np.int32)),
            "ts": pa.array(generator.integers(0, 400, rows) * 1.0),
            "title": [f"shelf{each // 12} thing{each}" for each in item],
        }
    )
    return table, strange


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[[Path], Path]) -> Path:
    """A log in uneven row groups, with ties, missing ids and an unknown item, and a model of its other rows."""
    folder = tmp_path_factory.mktemp("parts")
    table, _ = shelves()
    pq.write_table(table, folder / "known.parquet")
    make_model(folder / "known.parquet")
    user = [None if n % 501 == 7 else each for n, each in enumerate(table["user_id"].to_pylist())]
    item = [
        None if n % 401 == 9 else 60 + n if n % 11 == 0 else each for n, each in enumerate(table["item_id"].to_pylist())
    ]
    table = table.set_column(1, "user_id", pa.array(user)).set_column(2, "item_id", pa.array(item, pa.int32()))
    table = table.append_column("pair", pa.array([[n, n + 1] for n in range(ROWS)], pa.list_(pa.int16())))
    table = table.replace_schema_metadata({"from": "a test"})
    codecs = {"note": "gzip", "user_id": "none", "ts": "zstd"}
    with pq.ParquetWriter(folder / "log.parquet", table.schema, compression=codecs) as sink:
        for first, end in ((0, 700), (700, 701), (701, 2_000), (2_000, ROWS)):
            sink.write_table(table.slice(first, end - first))
    return folder


@pytest.fixture
def clean(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `denoise`, by default in parts of 256 rows and in buckets of 300."""
    for module in (log_parts, parted_found):
        monkeypatch.setattr(module, "BATCH", 256)
    monkeypatch.setattr(buckets, "_BUCKET_ROWS", 300)
    monkeypatch.setattr(blocks, "BLOCK", 5_000)
    monkeypatch.setenv("IADSR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, log: Path = folder / "log.parquet", code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["denoise", str(log), *map(str, arguments), "--json"])
        assert result.exit_code == code, result.output
        return result

    return run


def outcomes(reasons: pa.ChunkedArray) -> list[str]:
    """What is lowest is so among the rows of a bucket, or of the log, and need not be the same."""
    return [reason.partition(":")[0] for reason in reasons.to_pylist()]


@pytest.mark.parametrize(
    "decision",
    [
        ["--threshold", "0.02"],
        ["--budget", "7%"],
        ["--budget", "100%"],
        ["--budget", "0%"],
        ["--threshold", "0.02", "--protect-last", "2", "--protect", 'note > "n2" and item_id < 40'],
        ["--budget", "5%", "--event-column", "item_id", "--events", "3,14,15", "--protect-last", "1"],
        ["--budget", "100%", "--max-user-share", "1", "--min-user-rows", "0", "--min-item-rows", "9"],
        ["--budget", "5%", "--session-gap", "60s", "--time-unit", "s", "--protect-last", "1", "--min-user-rows", "1"],
    ],
)
def test_parts_give_the_rows_that_memory_gives(clean: Callable[..., Result], folder: Path, decision: list[str]) -> None:
    common = ["--model", folder / "model", "--null-ids", "keep", *decision]
    found = {}
    for way in ("never", "always"):
        outputs = ["-o", f"{way}.parquet", "--removed", f"{way}-removed.parquet"]
        found[way] = json.loads(clean(*common, *outputs, "--in-parts", way).stdout)
        del found[way]["output"], found[way]["seconds"]
    assert found["always"] == found["never"]
    kept, kept_in_parts = (pq.read_table(f"{way}.parquet") for way in found)
    assert kept_in_parts.equals(kept)
    assert kept_in_parts.schema.equals(pq.read_schema(folder / "log.parquet"), check_metadata=True)
    removed, removed_in_parts = (pq.read_table(f"{way}-removed.parquet") for way in found)
    assert removed_in_parts.drop(["reason"]).equals(removed.drop(["reason"]))
    assert outcomes(removed_in_parts["reason"]) == outcomes(removed["reason"])
    assert kept.num_rows + removed.num_rows == ROWS
    assert (removed.num_rows > 0) == (decision[1] != "0%")


@pytest.mark.parametrize(
    ("decision", "staying"), [([], set()), (["--budget", "0%"], {"kept by --budget"})], ids=["threshold", "budget"]
)
def test_in_one_bucket_annotated_rows_and_reasons_are_those_of_memory(
    clean: Callable[..., Result],
    folder: Path,
    decision: list[str],
    staying: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buckets, "_BUCKET_ROWS", ROWS)
    common = ["--model", folder / "model", "--null-ids", "keep", "--annotate", *decision]
    for way in ("never", "always"):
        clean(*common, "-o", f"{way}.parquet", "--in-parts", way)
    memory, in_parts = (pq.read_table(f"{way}.parquet") for way in ("never", "always"))
    assert in_parts.equals(memory)
    assert set(pc.unique(in_parts["reason"]).to_pylist()) >= {"unscored: user or item id is missing"}
    assert {outcome for outcome in outcomes(in_parts["reason"]) if outcome.startswith("kept by")} == staying


def test_rows_without_a_user_are_no_part_of_what_is_learned_from(
    clean: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_BUCKET_ROWS", ROWS)
    table, _ = shelves()
    alone = np.arange(ROWS) % 37 == 5
    # Some stand before the first row that a user has of the same item, and some have items that no user has.
    items = np.where(alone & (np.arange(ROWS) % 2 == 0), 900 + np.arange(ROWS), table["item_id"].to_numpy())
    users = pa.array(table["user_id"].to_pylist(), mask=alone)
    table = table.set_column(1, "user_id", users).set_column(2, "item_id", pa.array(items))
    table = table.append_column("event", pa.array(["view" if n % 5 else "buy" for n in range(ROWS)]))
    pq.write_table(table, tmp_path / "log.parquet")
    options = ["--text-column", "title", "--encoder", "tfidf", "--null-ids", "keep", "--annotate"]
    options += ["--event-column", "event", "--events", "view", "--threshold", "0.2"]
    found = {}
    for way in ("never", "always"):
        outcome = clean(*options, "-o", f"{way}.parquet", "--in-parts", way, log=tmp_path / "log.parquet")
        found[way] = json.loads(outcome.stdout)
        for name in ("output", "seconds", "removed_share_by_item_frequency_fifth"):
            del found[way][name]
    memory, in_parts = (pq.read_table(f"{way}.parquet") for way in ("never", "always"))
    assert in_parts.equals(memory)
    assert found["always"] == found["never"]
    assert found["never"]["removed"] > 20
    reasons = np.array(memory["reason"].to_pylist())
    assert set(reasons[alone]) == {"unscored: user or item id is missing"}
    assert (reasons == "kept: not judged, as its event is not among --events").sum() == found["never"]["unjudged"] > 500


@pytest.mark.parametrize(
    ("kind", "model", "more"),
    [
        ("csv", False, []),
        ("csv", False, ["--session-gap", "1h"]),
        ("parquet", False, []),
        ("parquet", True, ["--budget", "5%"]),
        ("parquet", True, ["--session-gap", "1h", "--budget", "5%", "--protect-last", "1"]),
    ],
)
def test_rows_without_a_time_stay_unscored(
    clean: Callable[..., Result],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    model: bool,
    more: list[str],
) -> None:
    monkeypatch.setattr(buckets, "_BUCKET_ROWS", ROWS)
    table, _ = shelves()
    timeless, nameless = np.arange(ROWS) % 41 == 7, np.arange(ROWS) % 77 == 7
    times = pa.array(1_700_000_000 + 20 * table["ts"].to_numpy().astype(int), mask=timeless)
    users = pa.array(table["user_id"].to_pylist(), mask=nameless)
    table = table.set_column(1, "user_id", users).set_column(3, "ts", times)
    log = tmp_path / f"log.{kind}"
    pq.write_table(table, log) if kind == "parquet" else pa.csv.write_csv(table, log)
    scorer = ["--model", folder / "model"] if model else ["--encoder", "tfidf", "--threshold", "0.2"]
    options = ["--text-column", "title", "--null-ids", "keep", *scorer, *more]
    refused = clean(*options, "-o", "none.csv", log=log, code=1)
    assert f"{timeless.sum()} of {ROWS} rows have no time" in refused.stderr
    assert "hint: Pass --null-times keep: such rows are kept and not scored." in refused.stderr
    found = {}
    for way in ("never", "always"):
        outputs = ["--annotate", "-o", f"{way}.parquet", "--removed", f"{way}.csv", "--in-parts", way]
        found[way] = json.loads(clean(*options, "--null-times", "keep", *outputs, log=log).stdout)
        for name in ("output", "seconds", "removed_share_by_item_frequency_fifth"):
            del found[way][name]
    memory, in_parts = (pq.read_table(f"{way}.parquet") for way in ("never", "always"))
    assert in_parts.equals(memory)
    assert found["always"] == found["never"]
    assert found["never"]["removed"] > 20
    reasons = np.array(memory["reason"].to_pylist())
    assert set(reasons[timeless & ~nameless]) == {"unscored: time is missing"}
    assert set(reasons[nameless]) == {"unscored: user or item id is missing"}
    assert not any("is missing" in reason for reason in reasons[~timeless & ~nameless])


def test_row_groups_and_compression_come_back(clean: Callable[..., Result], folder: Path) -> None:
    clean(
        "--model",
        folder / "model",
        "--null-ids",
        "keep",
        "-o",
        "clean.parquet",
        "--in-parts",
        "always",
        "--budget",
        "5%",
    )
    file, source = pq.ParquetFile("clean.parquet"), pq.ParquetFile(folder / "log.parquet")
    for number in range(5):
        before, after = (each.metadata.row_group(0).column(number) for each in (source, file))
        assert (after.path_in_schema, after.compression) == (before.path_in_schema, before.compression)
    assert not list(Path("cache").rglob("*.arrow")), "what was reached on the way is not needed any more"


def test_text_outputs_are_those_of_memory(clean: Callable[..., Result], folder: Path) -> None:
    log = folder / "known.parquet"
    for way in ("never", "always"):
        outputs = ["-o", f"{way}.csv.gz", "--removed", f"{way}.jsonl"]
        clean("--model", folder / "model", "--budget", "5%", *outputs, "--in-parts", way, log=log)
    assert Path("always.csv.gz").read_bytes() == Path("never.csv.gz").read_bytes()
    assert len(Path("always.jsonl").read_text().splitlines()) == ROWS * 5 // 100


def test_the_default_method_learns_from_the_first_buckets(
    clean: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_BUCKET_ROWS", 4_000)
    # Heads of few rounds put most of what is strange close to one half, on this side of it or on that.
    monkeypatch.setattr(head, "_ROUNDS", 100)
    table, strange = shelves(12_000, 1_000)
    pq.write_table(table, tmp_path / "log.parquet")
    options = ["--encoder", "tfidf", "--annotate", "-o", "all.parquet", "--in-parts", "always"]
    found = json.loads(clean(*options, log=tmp_path / "log.parquet").stdout)
    annotated = pq.read_table("all.parquet")
    assert annotated.drop(["noise_score", "keep", "reason"]).equals(table)
    score, user = annotated["noise_score"].to_numpy(), annotated["user_id"]
    assert buckets.count(12_000) == 3 > scorers.TEACHING_BUCKETS
    bucket = buckets._hashes(pa.chunked_array(user)) % 3
    for taught in (bucket < 2, bucket == 2):
        assert roc_auc_score(strange[taught], score[taught]) > 0.85, "a fifth of what is strange is of the user's shelf"
    assert found["removed"] == pc.sum(pc.invert(annotated["keep"])).as_py() > 300
    assert 0.04 < found["estimated_noise_share"] < 0.16


def test_of_larger_buckets_some_users_teach(
    clean: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_BUCKET_ROWS", 4_000)
    monkeypatch.setattr(scorers, "TEACHING_ROWS", 3_000)
    table, strange = shelves(8_000, 700)
    pq.write_table(table, tmp_path / "log.parquet")
    taught: list[Sequences] = []
    monkeypatch.setattr(
        scorers, "Panel", lambda sequences, *rest: taught.append(sequences) or crossfit.Panel(sequences, *rest)
    )
    options = ["--text-column", "none", "--annotate", "-o", "all.parquet", "--in-parts", "always"]
    clean(*options, log=tmp_path / "log.parquet")
    annotated = pq.read_table("all.parquet")
    assert annotated.drop(["noise_score", "keep", "reason"]).equals(table)
    assert annotated["noise_score"].null_count == 0
    [sequences] = taught
    assert 2_900 < len(sequences.codes) <= 3_000
    bucket = buckets._hashes(pa.chunked_array(table["user_id"])) % 2
    first = table.filter(pa.array(bucket == 0))
    histories = Counter(first["user_id"].to_pylist())
    assert sequences.lengths.min() > 0
    assert not Counter(sequences.lengths.tolist()) - Counter(histories.values()), "users teach as a whole"
    score = annotated["noise_score"].to_numpy()
    for number in (0, 1):
        assert roc_auc_score(strange[bucket == number], score[bucket == number]) > 0.8


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(0, 60))
def test_users_that_teach_are_whole_and_not_too_many(lengths: list[int], most: int) -> None:
    users = np.random.default_rng(0).permutation(np.repeat(np.arange(len(lengths)), lengths))
    nothing = np.zeros(len(users), dtype=bool)
    order = np.arange(len(users))[::-1]
    sessions = 2 * users + np.arange(len(users)) % 2
    bucket = buckets.Bucket(np.arange(len(users)), sessions, users, users, order, nothing, nothing, nothing)
    rows = scorers._teaching_rows(bucket, most, 0)
    assert rows.tolist() == scorers._teaching_rows(bucket, most, 0).tolist()
    assert not set(users[rows].tolist()) & set(users[~rows].tolist())
    if len(users) <= most or min(lengths) > most:
        assert rows.all()
    else:
        assert most - max(lengths) < rows.sum() <= most
    taken = bucket.take(rows)
    assert taken.order is not None
    assert taken.order.tolist() == order[rows].tolist()
    for found, whole in ((taken.users, sessions), (taken.people, users)):
        assert sorted(np.bincount(found)) == sorted(np.bincount(whole[rows])[np.unique(whole[rows])])


def test_a_job_that_would_remove_too_much_writes_nothing(clean: Callable[..., Result], folder: Path) -> None:
    arguments = ["--model", folder / "model", "--null-ids", "keep", "--budget", "9%", "-o", "clean.parquet"]
    result = clean(*arguments, "--in-parts", "always", "--max-removed", "5%", code=3)
    assert "more than --max-removed 5%" in result.stderr
    assert json.loads(result.stdout)["output"] is None
    assert not Path("clean.parquet").exists()


def test_what_a_run_found_that_wrote_nothing_serves_the_next(
    clean: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged, learned, judge, scores = [], [], judging.Judging.judge, crossfit.Panel.scores
    monkeypatch.setattr(judging.Judging, "judge", lambda self, number: judged.append(number) or judge(self, number))
    monkeypatch.setattr(crossfit.Panel, "scores", lambda panel: learned.append(panel) or scores(panel))
    arguments = ["--text-column", "none", "--in-parts", "always", "--budget", "5%", "-o", "clean.parquet"]
    arguments += ["--removed", "removed.parquet"]
    log = folder / "known.parquet"
    other = json.loads(clean(*arguments, "--max-user-share", "0.1", "--dry-run", log=log).stdout)
    dry = json.loads(clean(*arguments, "--dry-run", log=log).stdout)
    assert (len(judged), len(learned)) == (20, 2)
    refused = json.loads(clean(*arguments, "--max-removed", "1%", log=log, code=3).stdout)
    assert not Path("clean.parquet").exists()
    done = json.loads(clean(*arguments, "--max-removed", "9%", log=log).stdout)
    assert (len(judged), len(learned)) == (20, 2)
    assert other["removed"] <= dry["removed"] == pq.read_metadata("removed.parquet").num_rows == 150
    for name in ("removed", "estimated_noise_share", "users_by_decision"):
        assert dry[name] == refused[name] == done[name]
    assert done["estimated_noise_share"] is not None
    assert not [*Path("cache/buckets").iterdir()], "what other settings found, too, is of no more use"


@pytest.mark.parametrize(("condition", "warned"), [("note == 'sold'", True), ("note == 'n1'", False)])
def test_a_condition_that_holds_for_no_row_is_said(
    clean: Callable[..., Result], folder: Path, condition: str, warned: bool
) -> None:
    arguments = ["--model", folder / "model", "--null-ids", "keep", "-o", "clean.parquet", "--in-parts", "always"]
    said = json.loads(clean(*arguments, "--protect", condition).stdout)
    assert ["holds for no row" in text for text in said["warnings"]] == [True] * warned


def test_sessions_of_one_bucket_are_judged_as_in_memory(
    clean: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_BUCKET_ROWS", ROWS)
    options = ["--session-gap", "60s", "--time-unit", "s", "--encoder", "tfidf", "--annotate"]
    for way in ("never", "always"):
        clean(*options, "-o", f"{way}.parquet", "--in-parts", way, log=folder / "known.parquet")
    assert pq.read_table("always.parquet").equals(pq.read_table("never.parquet"))


def test_events_that_are_not_in_the_log_are_said(clean: Callable[..., Result], folder: Path) -> None:
    arguments = ["--model", folder / "model", "--null-ids", "keep", "-o", "clean.parquet", "--in-parts", "always"]
    result = clean(*arguments, "--event-column", "note", "--events", "n1,sold", code=2)
    assert '--events names "sold"' in result.stderr


def test_small_row_groups_are_split_together(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pq.read_table(folder / "known.parquet"), tmp_path / "log.parquet", row_group_size=10)
    monkeypatch.setattr(log_parts, "BATCH", 1_000)
    merged: list[int] = []
    together = buckets._together
    monkeypatch.setattr(buckets, "_together", lambda tables: merged.append(sum(map(len, tables))) or together(tables))
    log = parted_reader.open_parts(str(tmp_path / "log.parquet"), LogSettings(), Silent())
    buckets.split(log, ProtectionSettings(), 2, {}, tmp_path / "split", Silent())
    assert sum(merged) < ROWS / 5
    for number in range(2):
        with pa.OSFile(str(buckets.path(tmp_path / "split", number))) as file:
            assert pa.ipc.open_file(file).num_record_batches == ROWS // 1_000


@pytest.mark.parametrize("known", [0, 1, 50])
def test_items_are_counted_in_order_of_appearance_whenever_they_are_put_together(known: int) -> None:
    generator = np.random.default_rng(known)
    counted, seen = buckets._Counted(), [str(each) for each in range(known)]
    counted.add(pa.chunked_array([pa.array(seen, pa.large_string())]), 1)
    for _ in range(20):
        more = [str(each) for each in generator.integers(0, 60, 7)]
        counted.add(pa.chunked_array([pa.array(more, pa.large_string())]), 1)
        seen += more
    assert counted.table().to_pydict()["item"] == list(dict.fromkeys(seen))
    assert (
        counted.table().to_pydict()["rows"] == counted.table().to_pydict()["userless"] == list(Counter(seen).values())
    )


def test_there_may_be_more_buckets_than_files_that_a_shell_allows(
    clean: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_BUCKET_ROWS", 10)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(file.name) for file in Path("/dev/fd").iterdir()) + 50, hard))
    try:
        clean("--model", folder / "model", "-o", "a.parquet", "--in-parts", "always", log=folder / "known.parquet")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("limits", "raised", "count"),
    [((256, 4096), [(2048, 4096)], 1024), ((256, 1024), [(1024, 1024)], 512), ((4096, 4096), [], 1024)],
)
def test_there_are_no_more_buckets_than_files_that_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: list[tuple[int, int]], count: int
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert buckets.count(10**10) == count
    assert asked == raised


def interrupted_at_the_fourth(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Interrupt the run when the fourth bucket is to be judged, and return the list of those that were begun."""
    judged: list[int] = []
    judge = scorers.ModelScorer.judge

    def failing(self: scorers.ModelScorer, number: int, bucket: buckets.Bucket) -> object:
        judged.append(number)
        if len(judged) == 4:
            raise KeyboardInterrupt
        return judge(self, number, bucket)

    monkeypatch.setattr(scorers.ModelScorer, "judge", failing)
    return judged


def test_an_interrupted_run_goes_on_with_the_buckets_it_has(
    clean: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--model", folder / "model", "--null-ids", "keep", "--in-parts", "always", "--budget", "5%"]
    clean(*arguments, "-o", "undisturbed.parquet")
    judged = interrupted_at_the_fourth(monkeypatch)
    result = clean(*arguments, "-o", "resumed.parquet", code=130)
    assert "Run the same command again" in result.stderr
    assert not Path("resumed.parquet").exists()
    clean(*arguments, "-o", "resumed.parquet")
    assert judged == [0, 1, 2, 3, *range(3, 10)]
    assert Path("resumed.parquet").read_bytes() == Path("undisturbed.parquet").read_bytes()

    del judged[:]
    clean(*arguments, "-o", "again.parquet", code=130)
    clean(*arguments, "-o", "again.parquet", "--removed", "removed.parquet")
    assert judged == [0, 1, 2, 3, *range(10)], "reasons were not asked for the first time"
    assert Path("again.parquet").read_bytes() == Path("undisturbed.parquet").read_bytes()

    del judged[:]
    clean(*arguments, "-o", "damaged.parquet", code=130)
    [flipped] = Path("cache").glob("buckets/judged-*/0001/found.arrow")
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    said = json.loads(clean(*arguments, "-o", "damaged.parquet").stdout)
    assert judged == [0, 1, 2, 3, 1, *range(3, 10)]
    assert [text for text in said["warnings"] if "judged again" in text and "found.arrow was changed" in text]
    assert Path("damaged.parquet").read_bytes() == Path("undisturbed.parquet").read_bytes()

    del judged[:]
    clean(*arguments, "-o", "newer.parquet", code=130)
    monkeypatch.setattr(artifacts, "__version__", "99.0")
    clean(*arguments, "-o", "newer.parquet")
    assert judged == [0, 1, 2, 3, *range(10)], "another version may judge otherwise"


def test_a_log_without_times_may_leave_a_bucket_empty(
    clean: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pq.read_table(folder / "known.parquet").drop(["ts"])
    few = table.filter(pc.is_in(table["user_id"], pa.array([f"u{number}" for number in range(12)])))
    pq.write_table(few, "few.parquet")
    monkeypatch.setattr(buckets, "_BUCKET_ROWS", 10)
    monkeypatch.setattr(scorers, "TEACHING_BUCKETS", 10)
    result = clean("-o", "clean.parquet", "--in-parts", "always", "--text-column", "none", log=Path("few.parquet"))
    said = json.loads(result.stdout)
    assert said["kept"] == pq.read_metadata("clean.parquet").num_rows
    assert said["kept"] + said["removed"] == few.num_rows


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["-o", "-"], 2, "cannot go to standard output", "Name a file with -o"),
        (["-o", "a.csv"], 1, 'Column "pair" of', "Write to a .parquet or .jsonl file"),
        (["-o", "a.parquet", "--report", "report"], 2, "--report looks at the whole log", "--in-parts never"),
        (["-o", "a.parquet", "--explain-user", "u1"], 2, "--explain-user looks at the whole log", "--in-parts never"),
        (["-o", "a.parquet", "--method", "iadsr"], 2, "--method iadsr trains on the whole log", "pretrain and align"),
        (["-o", "a.parquet", "--time-column", "note"], 1, "429 of 3000 rows have no time", "--time-column none"),
        (["-o", "a.parquet", "--time-column", "title"], 1, 'in column "title" is not a time', "--time-column none"),
        (["-o", "a.parquet"], 1, "the first is row 10", "--null-ids keep"),
    ],
)
def test_what_cannot_be_done_in_parts_is_said_at_once(
    clean: Callable[..., Result], arguments: list[str], code: int, error: str, hint: str
) -> None:
    result = clean(*arguments, "--in-parts", "always", code=code)
    last = [line for line in result.stderr.splitlines() if line.startswith(("error:", "hint:"))]
    assert error in last[0]
    assert hint in last[1]
    assert not [path for path in Path().iterdir() if path.name != "cache"]


@pytest.mark.parametrize(
    ("value", "output", "found"),
    [
        ("a\0b", "a.csv", "a NUL character, which CSV and TSV"),
        (math.inf, "a.jsonl", "an infinite number, which JSON"),
        (b"\xff", "a.jsonl", "bytes that are not UTF-8 text, which JSON"),
    ],
)
def test_what_text_cannot_hold_is_said_before_any_work(
    clean: Callable[..., Result], tmp_path: Path, value: object, output: str, found: str
) -> None:
    table, _ = shelves()
    last = table.append_column("x", pa.array([None] * (ROWS - 1) + [value]))
    pq.write_table(last, tmp_path / "log.parquet")
    for outputs in (["-o", output], ["-o", "a.parquet", "--removed", output]):
        result = clean(*outputs, "--in-parts", "always", log=tmp_path / "log.parquet", code=1)
        assert f'Column "x" of {tmp_path / "log.parquet"} holds {found} cannot hold.' in result.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


def test_wide_times_and_string_views_come_back_from_parts(
    clean: Callable[..., Result], folder: Path, tmp_path: Path
) -> None:
    table, _ = shelves()
    until = pa.array([datetime(9999, 12, 31, 23, 59, 59), None, datetime(2024, 1, 1)] * (ROWS // 3), pa.timestamp("us"))
    table = table.append_column("until", until).append_column("view", table["title"].cast(pa.string_view()))
    log = tmp_path / "log.parquet"
    pq.write_table(table, log, row_group_size=700, use_deprecated_int96_timestamps=True)
    found = {}
    for way in ("never", "always"):
        outputs = ["-o", f"{way}.parquet", "--removed", f"{way}.jsonl", "--in-parts", way]
        clean("--model", folder / "model", "--budget", "7%", *outputs, log=log)
        found[way] = pq.read_table(f"{way}.parquet")
    assert found["always"].equals(found["never"])
    assert found["always"].schema.equals(found["never"].schema, check_metadata=True)
    assert found["always"].schema.field("until").type == pa.timestamp("us")
    removed = [json.loads(line) for line in Path("always.jsonl").read_text().splitlines()]
    times = [*found["always"]["until"].to_pylist(), *(row["until"] for row in removed)]
    assert sum(str(time).startswith("9999-12-31") for time in times) == ROWS // 3


@pytest.mark.parametrize("wide", [False, True])
def test_a_column_may_be_called_like_a_part_of_another(
    clean: Callable[..., Result], folder: Path, tmp_path: Path, wide: bool
) -> None:
    table, _ = shelves()
    users, items = (table[name].to_pylist() for name in ("user_id", "item_id"))
    of_users = pa.array([{"id": each, "name": f"user {each}", "until": datetime(2024, 1, 1)} for each in users])
    of_items = pa.array([{"id": str(each), "name": f"item {each}", "until": datetime(2024, 1, 1)} for each in items])
    until = pa.array([datetime(9999 if wide else 2024, 12, 31)] * ROWS, pa.timestamp("us"))
    table = table.append_column("user.id", table["user_id"]).append_column("user.until", until).drop_columns("user_id")
    table = table.append_column("item", of_items).append_column("user", of_users)
    log = tmp_path / "log.parquet"
    pq.write_table(table, log, row_group_size=700, use_deprecated_int96_timestamps=True)
    columns = ["--user-column", "user.id", "--item-column", "item_id"]
    for way in ("never", "always"):
        outputs = ["-o", f"{way}.parquet", "--removed", f"{way}-gone.parquet", "--in-parts", way]
        clean(*columns, "--model", folder / "model", "--budget", "7%", *outputs, log=log)
    for name in ("", "-gone"):
        found = pq.read_table(f"always{name}.parquet")
        others = pq.read_table(f"never{name}.parquet")
        assert found.select(table.column_names).equals(others.select(table.column_names))
        named = [each["name"] for each in found["user"].to_pylist()]
        assert named == [f"user {each}" for each in found["user.id"].to_pylist()]
        with_ids = [each["id"] for each in found["item"].to_pylist()]
        assert with_ids == [str(each) for each in found["item_id"].to_pylist()]


@pytest.fixture
def days(folder: Path, tmp_path: Path) -> Path:
    """The log in files of a day each, below folders that name it; one without rows, one in two row groups."""
    table = pq.read_table(folder / "log.parquet")
    for day, (first, end) in enumerate(((0, 700), (700, 701), (701, 701), (701, 2_000), (2_000, ROWS))):
        place = tmp_path / "days" / f"day={day}" / "part.parquet"
        place.parent.mkdir(parents=True)
        codec = "zstd" if day % 2 else "gzip"
        own = table.slice(first, end - first).replace_schema_metadata({"day": str(day)})
        pq.write_table(own, place, row_group_size=800, compression=codec)
    (tmp_path / "days" / "_SUCCESS").touch()
    return tmp_path / "days"


@pytest.mark.parametrize("more", [[], ["--annotate"], ["--protect", "day > 3 and ts < 200"]])
def test_a_folder_comes_back_from_parts_as_from_memory(
    clean: Callable[..., Result], folder: Path, days: Path, more: list[str]
) -> None:
    common = ["--model", folder / "model", "--null-ids", "keep", "--budget", "7%", *more]
    summaries = {}
    for way in ("never", "always"):
        outputs = ["-o", f"{way}/", "--removed", f"{way}-gone.parquet", "--in-parts", way]
        summaries[way] = json.loads(clean(*common, *outputs, log=days).stdout)
        del summaries[way]["output"], summaries[way]["seconds"]
    assert summaries["always"] == summaries["never"]
    files = {way: sorted(path.relative_to(way) for path in Path(way).rglob("*.parquet")) for way in summaries}
    assert files["always"] == files["never"]
    assert len(files["always"]) == 5
    gone = 0
    for name in files["always"]:
        memory, parts = (pq.ParquetFile(Path(way) / name) for way in ("never", "always"))
        alike = [file.read().drop_columns(["reason"] if "--annotate" in more else []) for file in (memory, parts)]
        assert alike[1].equals(alike[0])
        assert parts.schema_arrow.equals(memory.schema_arrow, check_metadata=True)
        groups = [[file.metadata.row_group(n) for n in range(file.num_row_groups)] for file in (memory, parts)]
        assert {some.column(0).compression for some in groups[1]} == {some.column(0).compression for some in groups[0]}
        gone += pq.read_metadata(days / name).num_rows - parts.metadata.num_rows
    removed = [pq.read_table(f"{way}-gone.parquet") for way in ("never", "always")]
    assert removed[1].drop(["reason"]).equals(removed[0].drop(["reason"]))
    assert removed[1].column_names[-3:] == ["day", "noise_score", "reason"]
    assert gone == (0 if more == ["--annotate"] else removed[0].num_rows)
    assert removed[0].num_rows == ROWS * 7 // 100


def test_a_folder_goes_to_one_file(clean: Callable[..., Result], folder: Path, days: Path) -> None:
    for way in ("never", "always"):
        outputs = ["-o", f"{way}.parquet", "--in-parts", way]
        clean("--model", folder / "model", "--null-ids", "keep", "--budget", "7%", *outputs, log=days)
    memory, parts = pq.read_table("never.parquet"), pq.read_table("always.parquet")
    assert parts.equals(memory)
    assert parts.schema.equals(memory.schema, check_metadata=True)
    assert set(parts["day"].to_pylist()) == {0, 1, 3, 4}


def test_files_that_do_not_fit_together_are_said(clean: Callable[..., Result], folder: Path, days: Path) -> None:
    other = days / "day=3" / "part.parquet"
    pq.write_table(pq.read_table(other, partitioning=None).drop_columns(["user_id"]), other)
    arguments = ["--model", folder / "model", "-o", "clean/", "--in-parts", "always"]
    result = clean(*arguments, log=days, code=1)
    assert f'{other} has no column "user_id", which {days / "day=0" / "part.parquet"} has.' in result.stderr
    pq.write_table(pq.read_table(folder / "log.parquet"), other)
    result = clean(*arguments, log=days, code=1)
    assert "the first is row 8 of day=0/part.parquet." in result.stderr


def as_text(folder: Path, tmp_path: Path, kind: str) -> tuple[Path, list[str]]:
    """Write the log as text that only its own settings read, with times as text; return the file and the settings."""
    table = pq.read_table(folder / "log.parquet").drop_columns(["pair"])
    rows = table.to_pylist()
    for number, row in enumerate(rows):
        row["ts"] = f"2024-01-01T00:{int(row['ts']) // 60:02}:{int(row['ts']) % 60:02}" + ("Z" if number % 2 else "")
    path = tmp_path / f"log.{kind}"
    if kind == "jsonl.zst":
        text = "".join(
            json.dumps({name: value for name, value in row.items() if value is not None}) + "\n" for row in rows
        )
        path.write_bytes(zstandard.compress(text.encode()))
        return path, []
    lines = ["\ufeffnote;user_id;item_id;ts;title\r\n"]
    for number, row in enumerate(rows):
        cells = ["NA" if value is None else str(value) for value in row.values()]
        cells[0] = f"'{cells[0]};\n'" if number % 5 == 0 else cells[0]
        lines.append(";".join(cells) + ("\r\n" if number % 3 else "\n\n"))
    text = "".join(lines).encode("utf-16-le")
    path.write_bytes(gzip.compress(text, mtime=0) if kind.endswith(".gz") else text)
    return path, ["--delimiter", ";", "--encoding", "utf-16", "--quote-char", "'", "--null-values", "NA"]


@pytest.mark.parametrize("kind", ["csv.gz", "jsonl.zst"])
@pytest.mark.parametrize(
    "decision",
    [
        ["--budget", "7%"],
        ["--threshold", "0.02", "--protect-last", "2", "--protect", 'note > "n2" and user_id > "u2"'],
        ["--budget", "5%", "--event-column", "item_id", "--events", "3,14,15"],
        ["--budget", "5%", "--session-gap", "60s", "--min-user-rows", "1"],
    ],
)
def test_text_in_parts_gives_the_bytes_that_memory_gives(
    clean: Callable[..., Result], folder: Path, tmp_path: Path, kind: str, decision: list[str]
) -> None:
    log, settings = as_text(folder, tmp_path, kind)
    common = ["--model", folder / "model", "--null-ids", "keep", *settings, *decision]
    found = {}
    for way in ("never", "always"):
        outputs = ["-o", f"{way}.{kind}", "--removed", f"{way}-removed.parquet", "--in-parts", way]
        found[way] = json.loads(clean(*common, *outputs, log=log).stdout)
        del found[way]["output"], found[way]["seconds"]
    assert found["always"] == found["never"]
    assert found["always"]["removed"] > 0
    assert Path(f"always.{kind}").read_bytes() == Path(f"never.{kind}").read_bytes()
    removed, in_parts = (pq.read_table(f"{way}-removed.parquet") for way in found)
    assert in_parts.drop(["reason"]).equals(removed.drop(["reason"]))
    assert outcomes(in_parts["reason"]) == outcomes(removed["reason"])


@pytest.mark.parametrize("kind", ["csv", "jsonl.zst"])
def test_annotated_text_is_that_of_memory(
    clean: Callable[..., Result], folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_BUCKET_ROWS", ROWS)  # reasons rank the rows of a bucket
    log, settings = as_text(folder, tmp_path, kind)
    common = ["--model", folder / "model", "--null-ids", "keep", *settings, "--budget", "5%"]
    for way in ("never", "always"):
        outputs = ["--annotate", "-o", f"{way}.{kind}", "--removed", f"{way}-removed.{kind}", "--in-parts", way]
        clean(*common, *outputs, log=log)
    for name in ("", "-removed"):
        assert Path(f"always{name}.{kind}").read_bytes() == Path(f"never{name}.{kind}").read_bytes()


def test_a_folder_of_text_comes_back_from_parts_as_from_memory(
    clean: Callable[..., Result], folder: Path, tmp_path: Path
) -> None:
    lines = write_known(folder, tmp_path).read_bytes().splitlines(keepends=True)
    for day, (first, end) in enumerate(((1, 900), (900, 900), (900, 2_000), (2_000, ROWS + 1))):
        place = tmp_path / "days" / f"day={day}" / "part.csv"
        place.parent.mkdir(parents=True)
        place.write_bytes(b"".join([lines[0], *lines[first:end]]).rstrip(b"\n"))
    common = ["--model", folder / "model", "--budget", "7%", "--protect", "day > 2 and ts < 200"]
    for way in ("never", "always"):
        outputs = ["-o", f"{way}/", "--removed", f"{way}-gone.csv", "--in-parts", way]
        clean(*common, *outputs, log=tmp_path / "days")
    files = {way: sorted(path.relative_to(way) for path in Path(way).rglob("*.*")) for way in ("never", "always")}
    assert files["always"] == files["never"]
    assert len(files["always"]) == 5
    for name in files["always"]:
        assert (Path("always") / name).read_bytes() == (Path("never") / name).read_bytes()
    gone = [list(csv.reader(Path(f"{way}-gone.csv").read_text().splitlines())) for way in ("never", "always")]
    assert [row[:-1] for row in gone[1]] == [row[:-1] for row in gone[0]]
    assert gone[0][0][-3:] == ["day", "noise_score", "reason"]


def write_known(folder: Path, tmp_path: Path) -> Path:
    """Write the rows that the model knows as CSV."""
    path = tmp_path / "whole.csv"
    pyarrow.csv.write_csv(
        pq.read_table(folder / "known.parquet"), path, pyarrow.csv.WriteOptions(quoting_style="needed")
    )
    return path


def test_an_interrupted_run_on_text_goes_on_with_the_buckets_it_has(
    clean: Callable[..., Result], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write_known(folder, tmp_path)
    arguments = ["--model", folder / "model", "--in-parts", "always", "--budget", "5%"]
    clean(*arguments, "-o", "undisturbed.csv", log=log)
    judged = interrupted_at_the_fourth(monkeypatch)
    clean(*arguments, "-o", "resumed.csv", log=log, code=130)
    clean(*arguments, "-o", "resumed.csv", log=log)
    assert judged == [0, 1, 2, 3, *range(3, 10)]
    assert Path("resumed.csv").read_bytes() == Path("undisturbed.csv").read_bytes()
    del judged[:]
    clean(*arguments, "-o", "again.csv", log=log, code=130)
    # The same bytes, read in another way, are another log.
    clean(*arguments, "-o", "again.csv", "--decimal", ",", log=log)
    assert judged == [0, 1, 2, 3, *range(10)]


def test_text_that_is_changed_while_it_is_cleaned_is_not_written(
    clean: Callable[..., Result], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write_known(folder, tmp_path)
    judge = scorers.ModelScorer.judge

    def changing(self: scorers.ModelScorer, number: int, bucket: buckets.Bucket) -> object:
        log.write_bytes(log.read_bytes() + b"n,u1,1,2.0,x\n")
        return judge(self, number, bucket)

    monkeypatch.setattr(scorers.ModelScorer, "judge", changing)
    result = clean("--model", folder / "model", "--in-parts", "always", "-o", "a.csv", log=log, code=1)
    assert "was changed while iadsr worked on what it had read from it" in result.stderr
    assert not Path("a.csv").exists()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_log_that_is_changed_while_its_rows_are_written_is_not_written(
    clean: Callable[..., Result], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    log = tmp_path / f"log.{kind}"
    table = pq.read_table(folder / "known.parquet")
    write = {"csv": pyarrow.csv.write_csv, "parquet": partial(pq.write_table, row_group_size=50)}[kind]
    write(table, log)
    decide = verdicts.Rule.decide

    def changing(self: verdicts.Rule, found: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        if list(tmp_path.glob(".clean.*.draft")):
            write(table[::-1], log)
        return decide(self, found)

    monkeypatch.setattr(verdicts.Rule, "decide", changing)
    outputs = ["-o", f"clean.{kind}", "--removed", "removed.csv"]
    result = clean("--model", folder / "model", "--budget", "5%", "--in-parts", "always", *outputs, log=log, code=1)
    assert "was changed while iadsr worked on what it had read from it" in result.stderr
    assert not [path for path in tmp_path.iterdir() if "clean" in path.name or "removed" in path.name]


def test_what_appears_at_the_place_of_an_output_keeps_all_from_being_written(
    clean: Callable[..., Result], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write_known(folder, tmp_path)
    decide = verdicts.Rule.decide

    def appearing(self: verdicts.Rule, found: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        if list(tmp_path.glob(".clean.*.draft")):
            Path("clean.csv").write_text("precious", encoding="utf-8")
        return decide(self, found)

    monkeypatch.setattr(verdicts.Rule, "decide", appearing)
    outputs = ["-o", "clean.csv", "--removed", "removed.csv"]
    result = clean("--model", folder / "model", "--budget", "5%", "--in-parts", "always", *outputs, log=log, code=1)
    assert "clean.csv exists already." in result.stderr
    assert Path("clean.csv").read_text(encoding="utf-8") == "precious"
    assert not [path for path in tmp_path.iterdir() if ".clean" in path.name or "removed" in path.name]


def test_items_that_are_changed_while_a_log_is_cleaned_in_parts(
    clean: Callable[..., Result], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = tmp_path / "items.csv"
    items.write_text("item_id,title\n" + "".join(f"{n},title {n % 7}\n" for n in range(60)), encoding="utf-8")
    prepare = scorers.CrossfitScorer.prepare

    def changing(self: scorers.CrossfitScorer, split: buckets.Split) -> None:
        items.write_bytes(items.read_bytes() + b"99,another\n")
        prepare(self, split)

    monkeypatch.setattr(scorers.CrossfitScorer, "prepare", changing)
    arguments = ["--in-parts", "always", "-o", "a.parquet", "--items", items, "--encoder", "tfidf"]
    result = clean(*arguments, log=folder / "known.parquet", code=1)
    assert f"{items} was changed while iadsr worked on what it had read from it" in result.stderr
    assert not Path("a.parquet").exists()


def test_vectors_need_no_texts(
    clean: Callable[..., Result], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_BUCKET_ROWS", ROWS)
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    pq.write_table(pa.table({"item_id": range(60), "vector": list(vectors)}), tmp_path / "vectors.parquet")
    options = ["--text-column", "none", "--encoder", "vectors:vectors.parquet", "--annotate"]
    for way in ("never", "always"):
        clean(*options, "-o", f"{way}.parquet", "--in-parts", way, log=folder / "known.parquet")
    assert pq.read_table("always.parquet").equals(pq.read_table("never.parquet"))


def test_text_that_would_fill_the_memory_is_cleaned_in_parts(
    clean: Callable[..., Result], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write_known(folder, tmp_path)
    packed = tmp_path / "whole.csv.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    arguments = ["--model", folder / "model", "-o", "-"]
    assert clean(*arguments, log=packed).exit_code == 0, "standard output is possible in memory alone"
    monkeypatch.setattr(parted_reader, "_BYTES_PER_ROW", 2 * formats.half_the_memory() // ROWS)
    for each in (log, packed):
        assert "cannot go to standard output" in clean(*arguments, log=each, code=2).stderr


def test_missing_ids_are_counted_over_the_whole_log(clean: Callable[..., Result], folder: Path) -> None:
    result = clean("--model", folder / "model", "-o", "a.parquet", "--in-parts", "always", code=1)
    assert '6 of 3000 rows have no user id in column "user_id"' in result.stderr
    assert "the first is row 8." in result.stderr


def test_a_log_that_fits_is_cleaned_in_memory(
    clean: Callable[..., Result], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--model", folder / "model", "--null-ids", "keep", "-o", "-", "--output-format", "parquet"]
    assert clean(*arguments).exit_code == 0, "standard output is possible in memory alone"
    monkeypatch.setattr(parted_reader, "_BYTES_PER_ROW", 1 << 40)
    assert "cannot go to standard output" in clean(*arguments, code=2).stderr


def test_a_log_that_fits_may_be_one_that_cannot_be_cleaned_in_parts(
    clean: Callable[..., Result], tmp_path: Path
) -> None:
    table, _ = shelves()
    days = pa.array([f"2024-01-{1 + int(each) % 28:02}" for each in table["ts"].to_pylist()])
    pq.write_table(table.set_column(3, "ts", days), tmp_path / "days.parquet")
    result = clean("-o", "clean.parquet", "--encoder", "tfidf", log=tmp_path / "days.parquet")
    assert json.loads(result.stdout)["rows"] == ROWS
    (tmp_path / "text.parquet").write_text("user_id,item_id\n1,2\n")
    result = clean("-o", "a.csv", "--format", "csv", "--dry-run", log=tmp_path / "text.parquet", code=1)
    assert "in parts" not in result.stderr


@pytest.mark.parametrize("size", [0, 1, 5, 37, 80, 200])
@pytest.mark.parametrize("least", [0, 2])
def test_a_budget_takes_the_worst_rows_first_and_of_equal_ones_the_earliest(
    tmp_path: Path, size: int, least: int
) -> None:
    generator = np.random.default_rng(size)
    noise = generator.choice(np.float32([0, 1e-9, 0.25, 0.250001, 0.5, 1]), 100)
    noise[generator.random(100) < 0.1] = np.nan
    allowed = (generator.random(100) < 0.7) & ~np.isnan(noise)
    item, bot = generator.integers(0, 20, 100), generator.random(100) < 0.1
    files = []
    for number, drawn in enumerate(np.array_split(generator.permutation(100), 3)):
        rows = np.sort(drawn)
        own_best, counted = BestOfItems(least), rows[~bot[rows]]
        own_best.add(counted, item[counted], noise[counted], allowed[counted])
        best = np.isin(rows, own_best.rows())
        own = {"row": rows, "noise": noise[rows], "allowed": allowed[rows], "item": item[rows], "best": best}
        files.append(tmp_path / f"{number}.arrow")
        write_found(files[-1], own, 100)
    decision = DecisionSettings(budget=str(size / 200), min_item_rows=least)
    # Of item 0 three rows have no user, and are in no bucket.
    split = cast(buckets.Split, SimpleNamespace(userless=np.r_[3, np.zeros(19, np.int64)]))
    rule = verdicts.rule_of(files, 100, split, Config(decision=decision))

    kept_by_items = set()
    for each in range(1, 20):
        own = [row for row in range(100) if item[row] == each and not bot[row]]
        kept_by_items.update(
            sorted(own, key=lambda row: (allowed[row], noise[row] if allowed[row] else 0, -row))[:least]
        )
    candidates = np.array([row for row in np.flatnonzero(allowed) if row not in kept_by_items])
    wanted = candidates[np.argsort(-noise[candidates], kind="stable")][: size // 2]
    found = Found(files, {"noise": np.nan, "allowed": False}).rows(0, 100)
    found["judged"] = np.ones(100, dtype=bool)
    found["row"] = np.arange(100)
    assert np.flatnonzero(rule.decide(found)[0]).tolist() == sorted(wanted.tolist())


def test_what_was_found_is_read_once_from_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parted_found, "BATCH", 10)
    generator = np.random.default_rng(0)
    bucket, noise = generator.integers(-1, 3, 95), generator.random(95)
    files = [tmp_path / f"{number}.arrow" for number in range(3)]
    for number, file in enumerate(files):
        rows = np.flatnonzero(bucket == number)
        write_found(file, {"row": rows, "noise": noise[rows]}, 95)
    opened: list[str] = []
    open_file = pa.OSFile
    monkeypatch.setattr(pa, "OSFile", lambda path: opened.append(path) or open_file(path))
    found = Found(files, {"noise": -1.0})
    ends = [0, 0, 3, 3, 29, 30, 31, 80, 95, 95]
    read = [found.rows(first, end)["noise"] for first, end in pairwise(ends)]
    assert [len(part) for part in read] == np.diff(ends).tolist()
    assert np.concatenate(read).tolist() == np.where(bucket < 0, -1.0, noise).tolist()
    assert opened == [str(file) for file in files]


def test_users_of_a_bucket_are_numbered_as_in_memory_by_rows_that_have_an_item() -> None:
    users, items = np.array([0, 1, 1, 0, 2]), np.array([-1, 3, -1, 2, -1])
    never = np.zeros(5, bool)
    bucket = buckets.Bucket(np.arange(5), users, users, items, None, never, ~never, never)
    vocabulary = pa.array(["a", "b", "c", "d"])
    ids = pa.array(["a", "b", "c", "d", None]).take(pa.array(np.where(items < 0, 4, items)))
    memory = make_sequences(pa.array(users.astype(str)), ids, None, vocabulary)
    found = bucket.sequences(vocabulary)
    for name in ("codes", "row_ids", "offsets"):
        assert getattr(found, name).tolist() == getattr(memory, name).tolist()
    assert memory.codes.tolist() == [4, 3]


@pytest.mark.parametrize(("unjudged", "may_go"), [(0, 20), (5, 6)])
def test_events_that_are_not_judged_speak_for_no_bot(unjudged: int, may_go: int) -> None:
    rows, never = np.arange(20), np.zeros(20, dtype=bool)
    users = np.zeros(20, np.int64)
    bucket = buckets.Bucket(rows, users, users, rows, None, never, rows >= unjudged, never)
    scores = Scores(np.full(20, 0.9, np.float32), np.zeros((20, 3), np.float32), np.zeros(20, np.int8))
    split = cast(buckets.Split, SimpleNamespace(item_rows=np.full(20, 2)))
    found = verdicts.judged(bucket, split, scores, Config(decision=DecisionSettings()), explained=False)
    assert found["allowed"].sum() == may_go


def test_what_an_item_asks_of_its_rows_goes_by_all_of_them() -> None:
    generator = np.random.default_rng(5)
    users, items = generator.integers(0, 20, 200), generator.integers(0, 80, 200)
    noise = generator.uniform(0.5, 0.7, 200).astype(np.float32)
    decision = DecisionSettings(max_user_share=0.5)
    counts = np.bincount(items, minlength=80)
    split = cast(buckets.Split, SimpleNamespace(item_rows=counts))
    whole, _ = within_limits(noise, users, items, np.ones(200, dtype=bool), counts, decision)
    for rows in (np.flatnonzero(users < 9), np.flatnonzero(users >= 9)):
        never = np.zeros(len(rows), dtype=bool)
        bucket = buckets.Bucket(rows, users[rows], users[rows], items[rows], None, never, ~never, never)
        scores = Scores(noise[rows], np.zeros((len(rows), 3), np.float32), np.zeros(len(rows), np.int8))
        found = verdicts.judged(bucket, split, scores, Config(decision=decision), explained=False)
        assert found["allowed"].tolist() == whole[rows].tolist()


def test_another_process_gets_items_and_their_counts_and_reads_no_table_of_them(tmp_path: Path) -> None:
    table = pa.table({"item": pa.array(["a", "b"], pa.large_string()), "rows": [3, 1], "userless": [0, 1]})
    with pa.ipc.new_file(tmp_path / buckets._ITEMS, table.schema) as sink:
        sink.write_table(table)
    sent = pickle.loads(pickle.dumps(buckets.Split(tmp_path, "log", 1, None)))
    (tmp_path / buckets._ITEMS).unlink()
    assert (sent.items.to_pylist(), sent.item_rows.tolist()) == (["a", "b"], [3, 1])
