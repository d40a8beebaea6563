"""The study: `iadsr evaluate` on a small log, from files to a report."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

SHORT = ["--method", "iadsr", "--encoder", "tfidf", "--pretrain-epochs", "1", "--align-epochs", "1"]
CHEAP = [*SHORT, "--scorer", "random", "--scorer", "text", "--recommender", "neighbours", "--seeds", "2"]


def succeed(result) -> dict:
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_a_quick_study_answers_all_questions(run, shop: Path) -> None:
    said = succeed(run("evaluate", shop, "-o", "report", "--quick", "--budget", "5%", *SHORT, "--json"))
    stored = json.loads(Path("report/metrics.json").read_text(encoding="utf-8"))
    assert {key: said[key] for key in stored} == stored
    assert said["verdict"].startswith("Cleaning removes ")
    by_scorer = {record["scorer"]: record for record in said["detection"]}
    # Of those that train, only the one whose method was asked for.
    assert list(by_scorer) == ["random", "popularity", "text", "co-occurrence", "svd", "iadsr", "crossfit"]
    assert said["notes"] == [
        "A quick study leaves out backbone, collaborative, semantic, which train a recommender first: "
        "ask for one with --scorer."
    ]
    assert {(record["kind"], record["rate"], record["seed"]) for record in said["detection"]} == {
        ("insert-uniform", "10%", 0)
    }
    assert by_scorer["random"]["auroc"] == pytest.approx(0.5, abs=0.05)
    assert by_scorer["text"]["auroc"] > 0.7
    for record in by_scorer.values():
        assert record["noise"] == by_scorer["random"]["noise"] > 0
        own = record["scorer"] == said["settings"]["decision.method"]
        # The tool's own scorer removes what the budget says, of rows that count and rows that do not.
        assert 0 < record["removed"] <= 0.05 * 1.2 * 1500 if own else record["removed"] == record["noise"]
    (ranking,) = said["ranking"]
    arms = {arm["arm"]: arm for arm in ranking["arms"]}
    assert (ranking["recommender"], ranking["noise"], ranking["seeds"]) == ("neighbours", None, 1)
    assert list(arms) == ["raw", "cleaned training", "cleaned training and history", "random removal"]
    assert ranking["recovered_share"] is None
    assert arms["raw"]["change"] is None
    raw = arms["raw"]["HR@10"]
    for name in list(arms)[1:]:
        change = arms[name]["change"]["HR@10"]
        assert change["mean"] == pytest.approx((arms[name]["HR@10"] - raw) / raw)
        assert change["low"] <= change["mean"] <= change["high"]

    tried = said["thresholds"]
    assert (tried["recommender"], tried["users"], tried["seeds"]) == ("neighbours", ranking["users"], 1)
    assert tried["own"]["removed_share"] == said["cleaning"]["removed_share"]
    assert tried["own"]["test"]["HR@10"] == arms["cleaned training and history"]["HR@10"]
    removed = [one["removed_share"] for one in tried["thresholds"]]
    assert removed[0] < removed[-1]

    log = pd.read_csv(shop, keep_default_na=False, dtype=str)
    rows = pq.read_table("report/rows.parquet").to_pandas()
    assert len(rows) == said["cleaning"]["rows"] == len(log) - 2 * (log["user_id"].value_counts() >= 3).sum()
    assert rows["removed"].sum() == said["cleaning"]["removed"] == len(rows) * 5 // 100
    assert (log["user_id"].astype(str).to_numpy()[rows["row"]] == rows["user_id"]).all()
    assert (log["item_id"].astype(str).to_numpy()[rows["row"]] == rows["item_id"]).all()
    worst = rows.sort_values("noise_score", ascending=False).head(20)
    assert [row["score"] for row in said["suspicious"]] == pytest.approx(worst["noise_score"].to_list())
    titles = dict(zip(log["item_id"].astype(str), log["title"], strict=True))
    for row in said["suspicious"]:
        assert (row["title"] or "") == titles[row["item"]]
        theirs = log[log["user_id"].astype(str) == row["user"]]
        assert row["others_count"] == len(theirs) - 1
        assert set(row["others"]) <= {*theirs["title"], *theirs["item_id"]}
    page = Path("report/report.html").read_text(encoding="utf-8")
    assert said["verdict"].split(":")[0] in page


def test_seeds_kinds_and_shares_are_all_compared(run, shop: Path) -> None:
    noise = ["--noise", "insert-similar", "--noise", "replace-uniform", "--noise-share", "5%", "--noise-share", "0.2"]
    ranked = ["--ranking-noise", "30%", "--threshold", "1"]
    said = succeed(run("evaluate", shop, *CHEAP, *noise, *ranked, "--seed", "7", "--json"))
    found = {(record["scorer"], record["kind"], record["rate"], record["seed"]) for record in said["detection"]}
    assert len(found) == len(said["detection"]) == 2 * 2 * 2 * 2
    assert {seed for *_, seed in found} == {7, 8}
    as_it_is, noisy = said["ranking"]
    assert (as_it_is["noise"], noisy["noise"]) == (None, "insert-uniform 30%")
    assert noisy["arms"][-1]["arm"] == "oracle"
    assert noisy["users"] == as_it_is["users"]
    # Nothing is above such a threshold, and what is not removed is not recovered.
    assert said["cleaning"]["removed"] == 0
    nothing = "At these settings cleaning removes none of the rows that train, all but the last two of each user, so"
    assert said["verdict"].startswith(nothing)
    assert (noisy["recovered_share"] is None) == (noisy["recovered_share_withheld"] is not None)


@pytest.mark.parametrize("method", [SHORT, ["--encoder", "tfidf"]])
def test_a_study_that_was_interrupted_goes_on(
    run, shop: Path, monkeypatch: pytest.MonkeyPatch, method: list[str]
) -> None:
    from iadsr_cli.crossfit import Panel
    from iadsr_cli.evaluation import study

    judged, scores = [], Panel.scores
    monkeypatch.setattr(Panel, "scores", lambda panel: judged.append(panel) or scores(panel))
    options = ["-o", "report", "--quick", "--budget", "5%", *method]
    original = study._Lab.ranking

    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(study._Lab, "ranking", stop)
    stopped = run("evaluate", shop, *options)
    assert stopped.exit_code == 130
    assert not Path("report").exists()
    monkeypatch.setattr(study._Lab, "ranking", original)
    first = run("evaluate", shop, *options, "--json")
    assert (json.loads(first.stdout)["seconds"].keys() >= {"read", "pretrain"}) == (method == SHORT)
    # One log with noise, before it was interrupted, and the log as it is where that goes by this method.
    assert len(judged) == (1 if method == SHORT else 2)
    trained = sorted(Path("cache").glob("*/*/manifest.json"))
    before = {path.name: path.read_bytes() for path in Path("report").iterdir()}
    again = succeed(run("evaluate", shop, *options, "--force", "--json"))
    assert "pretrain" not in again["seconds"]
    assert len(judged) == (1 if method == SHORT else 2)
    assert trained == sorted(Path("cache").glob("*/*/manifest.json"))
    assert before == {path.name: path.read_bytes() for path in Path("report").iterdir()}


def test_labels_take_the_place_of_injected_noise(run, shop: Path) -> None:
    log = pd.read_csv(shop)
    log["rating"] = np.where(np.arange(len(log)) % 10 == 0, 1, 4)
    log.to_csv("rated.csv", index=False)
    said = succeed(
        run("evaluate", "rated.csv", "-o", "report", *CHEAP, "--scorer", "iadsr", "--label", "rating<=2", "--json")
    )
    assert {record["kind"] for record in said["detection"]} == {"labels"}
    assert {record["noise"] for record in said["detection"]} == {int((log["rating"] == 1).sum())}
    assert {record["rows"] for record in said["detection"]} == {len(log)}
    assert (said["precision_recall"]["kind"], said["precision_recall"]["rate"]) == ("labels", None)
    assert [part["name"] for part in said["histogram"]["parts"]] == ["other rows", "labelled noise"]
    page = Path("report/report.html").read_text(encoding="utf-8")
    assert "Noise is what the log's own labels say" in page.replace("&#39;", "'")
    assert "Noise is put into the histories" not in page


def test_labels_that_tell_nothing_apart_are_refused(refused, shop: Path) -> None:
    error = "By --label timestamp<5 no row is noise, so there is nothing to tell apart."
    refused(
        "evaluate", shop, "--quick", "--label", "timestamp<5", "--encoder", "tfidf", code=1, error=error, hint="Give"
    )


def test_without_text_what_goes_by_text_is_left_out(run, shop: Path) -> None:
    pd.read_csv(shop).drop(columns="title").to_csv("bare.csv", index=False)
    said = succeed(
        run("evaluate", "bare.csv", *CHEAP, "--noise", "insert-uniform", "--noise", "insert-similar", "--json")
    )
    assert {(record["scorer"], record["kind"]) for record in said["detection"]} == {("random", "insert-uniform")}
    assert said["notes"] == ["No item has a text: scorers and noise that go by text are left out."]


def test_where_all_that_was_asked_for_goes_by_text_there_has_to_be_some(refused, shop: Path) -> None:
    pd.read_csv(shop).drop(columns="title").to_csv("bare.csv", index=False)
    refused(
        "evaluate",
        "bare.csv",
        "--scorer",
        "text",
        code=1,
        error="No item has a text, and all that was asked for goes by text.",
        hint="Bring texts by --text-column",
    )


@pytest.mark.parametrize(
    ("option", "value", "error", "hint"),
    [
        ("--scorer", "svdd", '--scorer cannot be "svdd".', "Nearest: svd."),
        ("--noise", "uniform", '--noise cannot be "uniform".', "Allowed: insert-uniform, insert-popular"),
        ("--recommender", "knn", '--recommender cannot be "knn".', "Allowed: neighbours, backbone."),
        ("--noise-share", "0", '--noise-share cannot be "0".', "Give a share between 0 and 1, such as 10%."),
        ("--ranking-noise", "100%", '--ranking-noise cannot be "100%".', "Give a share between 0 and 1"),
        ("--seeds", "0", "--seeds is 0.", "at least 1"),
        ("--label", "ratng", '--label names "ratng", which is no column of', "Candidates:"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    refused, shop: Path, option: str, value: str, error: str, hint: str
) -> None:
    refused("evaluate", shop, option, value, code=2, error=error, hint=hint)


def test_the_terminal_shows_the_tables_and_the_verdict(run, shop: Path) -> None:
    shown = run("evaluate", shop, "--quick", "--budget", "5%", *SHORT).stderr
    for words in (
        "AUROC",
        "insert-uniform 10%",
        "co-occurrence",
        "neighbours: the last item of",
        "random removal",
        "the log as it is, seed 0",
    ):
        assert words in shown
    assert re.search(r"as set +[45]\.\d% +0\.\d{4} +0\.\d{4} *\n", shown)
    assert re.search(r"\n +0\.7 +[0-9.]+% +[+-][0-9.]+% \[.* +[+-][0-9.]+% \[", shown)
    assert re.search(
        r"Cleaning removes [45]\.\d% of the rows that train and .*: neighbours HR@10 [+-]", " ".join(shown.split())
    )
    files = "report.html, metrics.json, rows.parquet and, where noise was injected, noise.parquet"
    assert f"nothing was written: name a folder with -o for {files}" in " ".join(shown.split())


def test_what_was_injected_is_saved_with_the_score_it_got(run, shop: Path) -> None:
    noise = ["--noise", "insert-uniform", "--noise", "replace-uniform", "--scorer", "iadsr"]
    said = succeed(run("evaluate", shop, "-o", "report", *CHEAP, *noise, "--json"))
    saved = pq.read_table("report/noise.parquet").to_pandas()
    assert saved.groupby(["kind", "rate", "seed"]).size().to_dict() == {
        (record["kind"], record["rate"], record["seed"]): record["noise"] for record in said["detection"]
    }
    log = pd.read_csv(shop, keep_default_na=False, dtype=str)
    theirs = log.groupby("user_id")["item_id"].apply(list).to_dict()
    assert not any(item in theirs[user] for user, item in zip(saved["user_id"], saved["item_id"], strict=True))
    replaced = saved[saved["kind"] == "replace-uniform"]
    assert saved["replaced"].notna().sum() == len(replaced) > 0
    assert all(item in theirs[user] for user, item in zip(replaced["user_id"], replaced["replaced"], strict=True))
    assert saved["noise_score"].dropna().between(0, 1).all()
    assert saved["noise_score"].notna().mean() > 0.9
    others = pq.read_table("report/rows.parquet").to_pandas()["noise_score"]
    assert saved["noise_score"].mean() > others.mean()


def test_a_label_column_may_be_called_so(run, shop: Path) -> None:
    log = pd.read_csv(shop)
    log["odd"] = np.arange(len(log)) % 7 == 0
    log.to_csv("labelled.csv", index=False)
    said = succeed(run("evaluate", "labelled.csv", *CHEAP, "--label-column", "odd", "--json"))
    assert said["settings"]["study.label"] == "odd"
    assert {record["noise"] for record in said["detection"]} == {int(log["odd"].sum())}


def test_suspicious_rows_have_reasons(run, shop: Path) -> None:
    said = succeed(run("evaluate", shop, "--quick", "--budget", "5%", *SHORT, "--scorer", "random", "--json"))
    reasons = [row["reason"] for row in said["suspicious"]]
    assert len(reasons) == 20
    assert all(
        reason.startswith(("removed: ",) if row["removed"] else ("protected: ", "kept; what speaks most against it: "))
        for reason, row in zip(reasons, said["suspicious"], strict=True)
    )
