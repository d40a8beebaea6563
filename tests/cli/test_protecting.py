"""What people say must stay, and how much may go: `--protect...`, `--events`, `--max-removed`."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

TEXT = ["--encoder", "tfidf"]


@pytest.fixture
def log(shop: Path) -> pd.DataFrame:
    return pd.read_csv(shop)


def annotated(run, shop: Path, *options: object) -> tuple[pd.DataFrame, dict]:
    result = run("denoise", shop, "-o", "all.csv", "--annotate", "--force", "--json", *options, *TEXT)
    assert result.exit_code == 0, result.output
    return pd.read_csv("all.csv"), json.loads(result.stdout)


@pytest.mark.usefixtures("scored")
def test_the_last_rows_and_those_of_a_condition_stay_and_say_why(run, shop: Path, log: pd.DataFrame) -> None:
    limits = ["--budget", "10%", "--max-user-share", "1"]
    freely, said_freely = annotated(run, shop, *limits)
    wished, said = annotated(run, shop, "--protect-last", "2", "--protect", 'event == "buy"', *limits)
    latest = log.sort_values("timestamp", kind="stable").groupby("user_id").tail(2).index
    bought = log["event"] == "buy"
    last = log.index.isin(latest)
    assert (~freely["keep"] & last).any()
    assert (~freely["keep"] & bought & ~last).any()
    assert wished["keep"][last | bought].all()
    reasons = wished["reason"]
    assert reasons[~freely["keep"] & last].str.startswith("protected by --protect-last 2: ").all()
    assert reasons[~freely["keep"] & bought & ~last].str.startswith("protected by --protect 'event == \"buy\"': ").all()
    assert not reasons[~(last | bought)].str.startswith("protected by").any()
    assert said["protected"] == reasons.str.startswith("protected").sum()
    assert said["removed"] == said_freely["removed"] == int(0.1 * len(log)), "others go instead"
    pd.testing.assert_series_equal(wished["noise_score"], freely["noise_score"])


@pytest.mark.usefixtures("scored")
def test_a_condition_that_holds_for_no_row_is_said(run, shop: Path) -> None:
    for condition, warned in (("event == 'sold'", True), ("event == 'buy'", False)):
        said = json.loads(run("denoise", shop, "--dry-run", "--protect", condition, *TEXT, "--json").stdout)
        assert [condition in text and "holds for no row" in text for text in said["warnings"]] == [True] * warned


@pytest.mark.usefixtures("few_rounds")
def test_that_nothing_can_be_told_is_said_each_time(run) -> None:
    generator = np.random.default_rng(0)
    items = generator.choice(60, size=2_000, p=(weights := 1 / np.arange(1, 61)) / weights.sum())
    rows = "".join(f"u{user},i{item}\n" for user, item in zip(np.repeat(np.arange(200), 10), items, strict=True))
    Path("random.csv").write_text(f"user_id,item_id\n{rows}", encoding="utf-8")
    for parts in ("never", "never", "always"):
        result = run("denoise", "random.csv", "-o", "clean.csv", "--force", "--in-parts", parts, "--json")
        said = json.loads(result.stdout)
        assert (said["removed"], said["estimated_noise_share"]) == (0, None)
        assert any("fit their users hardly better" in text for text in said["warnings"])


@pytest.mark.usefixtures("scored")
def test_a_threshold_comes_over_a_budget_from_a_file_or_the_environment(run, shop: Path) -> None:
    Path("five.toml").write_text('budget = "5%"\n', encoding="utf-8")

    def removed(*options: str, **environment: str) -> int:
        result = run("denoise", shop, "--dry-run", *options, *TEXT, "--json", env=environment)
        return int(json.loads(result.stdout)["removed"])

    freely = removed("--threshold", "0.6")
    assert removed("--config", "five.toml") == removed(IADSR_BUDGET="5%") == 75 != freely
    assert removed("--threshold", "0.6", IADSR_BUDGET="5%") == freely
    assert removed("--threshold", "0.6", "--config", "five.toml") == freely
    assert removed("--config", "five.toml", IADSR_THRESHOLD="0.6") == freely
    assert removed("--budget", "5%", IADSR_THRESHOLD="0.6") == 75


@pytest.mark.usefixtures("scored")
def test_only_rows_with_a_named_event_go_and_all_count_as_history(run, shop: Path, log: pd.DataFrame) -> None:
    low = ["--threshold", "0.1"]
    freely, _ = annotated(run, shop, *low)
    options = ["--event-column", "event", "--events", "view", *low]
    restricted, said = annotated(run, shop, *options)
    others = log["event"] != "view"
    assert (~freely["keep"] & others).any()
    assert restricted["keep"][others].all()
    assert set(restricted["reason"][others]) == {"kept: not judged, as its event is not among --events"}
    assert (~restricted["keep"]).any()
    assert said["unjudged"] == others.sum()
    pd.testing.assert_series_equal(restricted["noise_score"], freely["noise_score"])
    shown = run("denoise", shop, "--dry-run", *options, *TEXT).stderr
    assert "not judged" in shown
    assert "not judged" not in run("denoise", shop, "--dry-run", *TEXT).stderr


@pytest.mark.usefixtures("scored")
def test_where_all_rows_are_protected_it_is_said_by_what(run, shop: Path) -> None:
    result = run("denoise", shop, "--dry-run", "--protect-last", 9999, "--threshold", 0.1, *TEXT)
    assert result.exit_code == 0
    assert (
        "looked like noise and stayed: see --max-user-share, --min-user-rows, --min-item-rows and --protect-last"
        in result.stderr
    )
    result = run("denoise", shop, "--dry-run", "--protect", "item_id != 'x'", "--budget", "5%", *TEXT)
    assert (
        "no row that may go: see --max-user-share, --min-user-rows, --min-item-rows and --protect 'item_id"
        in result.stderr
    )


@pytest.mark.usefixtures("scored")
def test_a_protected_row_is_explained(run, shop: Path, log: pd.DataFrame) -> None:
    limits = ["--budget", "10%", "--max-user-share", "1"]
    freely, _ = annotated(run, shop, *limits)
    user = log["user_id"][~freely["keep"]].iloc[0]
    condition = f'user_id == "{user}" or user_id == "a: b"'
    result = run("denoise", shop, "--explain-user", user, "--protect", condition, *limits, *TEXT)
    assert result.exit_code == 0, result.output
    decisions = [line.split()[-1] for line in result.stderr.splitlines() if "█" in line]
    assert set(decisions) == {"kept", "protected"}
    assert f": protected by --protect '{condition}': " in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("options", "code", "error", "hint"),
    [
        (["--protect", "rating >= 4"], 2, 'Column "rating" not found in', "Candidates: "),
        (["--protect", "event =="], 2, "--protect cannot be 'event ==': invalid syntax at character 9.", "event =="),
        (["--protect", "event > 4"], 1, '"view" in column "event" is not a number', "in quotes"),
        (["--event-column", "event"], 2, "--event-column event was given without", 'Name some with --events; "event"'),
        (["--event-column", "event", "--events", "wiew"], 2, '--events names "wiew"', '"event" holds '),
        (["--events", "view"], 2, "--events view was given without", "Name it with --event-column."),
        (["--max-removed", "x"], 2, '--max-removed cannot be "x".', "Give a share such as 5% or 0.05."),
    ],
)
def test_what_cannot_be_protected_is_told_before_any_work(
    refused, shop: Path, options: list[str], code: int, error: str, hint: str
) -> None:
    refused("denoise", shop, "-o", "clean.csv", *options, code=code, error=error, hint=hint)


@pytest.mark.usefixtures("scored")
def test_more_than_may_go_is_not_written(run, shop: Path) -> None:
    budget = ["--budget", "5%", *TEXT]
    outputs = ["-o", "clean.csv", "--removed", "gone.csv", "--report", "report"]
    before = {path.name for path in Path().iterdir()} | {"cache"}
    result = run("denoise", shop, *outputs, *budget, "--max-removed", "2%", "--json")
    assert result.exit_code == 3
    error, hint = result.stderr.splitlines()
    message = "75 of 1,500 rows (5.0%) would be removed, more than --max-removed 2%: nothing was written."
    assert error == f"error: {message}"
    assert hint == "hint: Remove less with a smaller --budget, or allow more with --max-removed."
    said = json.loads(result.stdout)
    assert (said["refused"], said["output"], said["removed"]) == (message, None, 75)
    assert {path.name for path in Path().iterdir()} == before
    dry = run("denoise", shop, "--dry-run", *budget, "--max-removed", "4.9%")
    assert dry.exit_code == 3
    assert "would be removed" in dry.stderr
    assert dry.stderr.splitlines()[-2].endswith("more than --max-removed 4.9%: nothing was written.")
    elsewhere = run("denoise", shop, "--dry-run", *budget, env={"IADSR_MAX_REMOVED": "2%"})
    assert elsewhere.stderr.splitlines()[-1] == f"{hint} --max-removed is IADSR_MAX_REMOVED in the environment."
    allowed = run("denoise", shop, *outputs, *budget, "--max-removed", "5%", "--json")
    assert allowed.exit_code == 0, allowed.output
    assert json.loads(allowed.stdout)["refused"] is None
    assert Path("clean.csv").exists()


@pytest.mark.usefixtures("scored")
def test_nothing_flows_out_of_a_pipe_when_more_than_may_go_would(run, shop: Path) -> None:
    result = run("denoise", shop, "--threshold", "0.01", "--max-removed", "0", "--quiet", *TEXT)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.splitlines()[1] == (
        "hint: Remove less with a higher --threshold, or allow more with --max-removed."
    )


@pytest.mark.usefixtures("scored")
def test_evaluate_knows_none_of_it_and_a_shared_file_of_settings_does_no_harm(run, shop: Path) -> None:
    assert run("evaluate", shop, "--protect-last", "1").exit_code == 2
    Path("iadsr.toml").write_text('protect-last = 1\nevents = "view"\nprotect = "a ="\nmodel = 1\n', encoding="utf-8")
    refused = run("evaluate", shop, "--config", "iadsr.toml")
    assert 'has "model", which is no setting' in refused.stderr, "and the others are known"
    Path("iadsr.toml").write_text('protect-last = 1\nevents = "view"\nprotect = "a ="\n', encoding="utf-8")
    result = run("evaluate", "none.csv", "--config", "iadsr.toml")
    assert "none.csv does not exist." in result.stderr


def test_sessions_are_shown_limited_and_explained_as_users_are(run, shop: Path, log: pd.DataFrame) -> None:
    options = ["--session-gap", "7d", "--min-user-rows", "1", "--budget", "5%", *TEXT]
    result = run("denoise", shop, "-o", "all.csv", "--annotate", *options)
    assert result.exit_code == 0, result.output
    ordered = log.sort_values(["user_id", "timestamp"], kind="stable")
    pause = ordered.groupby("user_id")["timestamp"].diff()
    session = (~(pause <= 7 * 86_400)).cumsum().reindex(log.index)
    assert session.nunique() > log["user_id"].nunique()
    assert f"user   user_id ({session.nunique():,} sessions, pauses 7d)" in result.stderr
    header = next(line.split() for line in result.stderr.splitlines() if "share" in line)
    assert header == ["rows", "share", "sessions", "items"]
    removed = ~pd.read_csv("all.csv")["keep"]
    assert 0 < removed.groupby(session).mean().max() <= 0.3
    told = run("denoise", shop, "--explain-user", f"{log['user_id'][0]}#1", *options)
    assert told.exit_code == 0, told.output


def test_the_sessions_of_a_user_who_is_to_be_explained_are_named(refused, tmp_path: Path) -> None:
    rows = [f"u1{user},i{day},{1_700_000_000 + 86_400 * day}\n" for user in ("", "0#1", "2") for day in range(12)]
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + "".join(reversed(rows)), encoding="utf-8")

    def explained(user: str, gap: str, error: str, hint: str) -> None:
        options = ["--explain-user", user, "--session-gap", gap, *TEXT]
        refused("denoise", "log.csv", *options, code=1, error=error, hint=hint)

    of_one = 'With --session-gap each session of "u1" is a user.'
    explained("u1", "1h", of_one, 'Name one: "u1#1", "u1#2", "u1#3" and 9 more.')
    explained("u1", "7d", of_one, 'Name one: "u1#1".')
    explained("u10#1", "7d", 'With --session-gap each session of "u10#1" is a user.', 'Name one: "u10#1#1".')
    explained("u1#13", "1h", 'has no user "u1#13".', 'Nearest: "u1#')
