"""The five subcommands on files: each reads what the one before wrote, and together they are `denoise`."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from iadsr_cli import artifacts, ranking

EXAMPLES = Path(__file__).parents[2] / "examples"
ENCODER = ["--encoder", "tfidf"]
PRETRAIN = ["--pretrain-epochs", "2"]
ALIGN = ["--align-epochs", "2"]
QUICK = [*ENCODER, *PRETRAIN, *ALIGN]


@pytest.fixture(autouse=True)
def published(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages are those of the published method."""
    monkeypatch.setenv("IADSR_METHOD", "iadsr")


def manifest(folder: str) -> dict[str, object]:
    content = json.loads(Path(folder, "manifest.json").read_text(encoding="utf-8"))
    assert set(content) == {"kind", "schema_version", "package_version", "config", "inputs", "outputs", "facts", "seal"}
    return content  # type: ignore[no-any-return]


def files(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def succeed(result) -> dict[str, object]:
    """Check that a command with --json went well and return its object."""
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)  # type: ignore[no-any-return]


@pytest.fixture
def stages(run, shop: Path):
    """Embed, pretrain and align into folders whose names end in `mark`; return what each said."""

    def make(mark: str = "", *options: object) -> dict[str, dict[str, object]]:
        vectors, gru, model = (f"{name}{mark}" for name in ("vectors", "gru", "model"))
        cache = ["--cache-dir", f"cache{mark}", "--json", *options]
        said = {
            "embed": run("embed", shop, "-o", vectors, *ENCODER, *cache),
            "pretrain": run("pretrain", shop, "-o", gru, *PRETRAIN, *cache),
            "align": run("align", shop, "--pretrained", gru, "--vectors", vectors, "-o", model, *ALIGN, *cache),
        }
        return {name: succeed(result) for name, result in said.items()}

    return make


def test_each_stage_writes_its_files_and_says_so(stages) -> None:
    said = stages()
    trained = {"vocabulary.parquet", "weights.safetensors", "history.jsonl", "manifest.json"}
    assert set(files("vectors")) == {"items.parquet", "vectors.safetensors", "manifest.json"}
    assert set(files("gru")) == set(files("model")) == trained
    expected = {"embed": "vectors", "pretrain": "gru", "align": "model"}
    for stage, folder in expected.items():
        content = manifest(folder)
        assert content["kind"] == stage
        facts = content["facts"]
        assert isinstance(facts, dict)
        assert {key: said[stage][key] for key in facts} == facts
        assert said[stage]["output"] == folder
        assert set(said[stage]) == {*facts, "output", "seconds", "warnings"}
        assert said[stage]["items"] == 479
    assert said["embed"]["with_vector"] == said["align"]["with_vector"] == 474
    assert manifest("model")["inputs"]["pretrain"] == manifest("gru")["outputs"]["weights.safetensors"]  # type: ignore[index]
    assert manifest("model")["inputs"]["embed"] == manifest("vectors")["outputs"]["vectors.safetensors"]  # type: ignore[index]
    assert Path("gru/history.jsonl").read_text(encoding="utf-8").count("\n") == said["pretrain"]["epochs"]


def test_manifests_hold_every_setting_and_the_seed(stages) -> None:
    stages("", "--seed", 7)
    config = manifest("model")["config"]
    assert isinstance(config, dict)
    assert config["seed"] == 7
    assert config["pretrain"]["pretrain_epochs"] == config["align"]["align_epochs"] == 2
    assert {"backbone", "pretrain", "loop", "align", "align_loop"} <= set(config)
    text = "".join(Path(name, "manifest.json").read_text(encoding="utf-8") for name in ("gru", "model", "vectors"))
    assert str(Path.cwd()) not in text


def test_the_same_again_gives_the_same_bytes(stages) -> None:
    stages("1")
    stages("2")
    for name in ("vectors", "gru", "model"):
        assert files(f"{name}1") == files(f"{name}2"), name


def test_scores_of_a_model_are_kept_for_its_window_too(run, shop: Path, stages) -> None:
    stages()
    succeed(run("denoise", shop, "-o", "one.csv", "--model", "model", "--annotate", "--json"))
    # The weights of a model that was trained on short histories may be those of one with a longer window.
    shutil.copytree("model", "narrow")
    content = manifest("narrow")
    content["config"]["backbone"]["window"] = 3  # type: ignore[index]
    sealed = artifacts.Manifest(**content).sealed()  # type: ignore[arg-type]
    Path("narrow/manifest.json").write_text(json.dumps(asdict(sealed)), encoding="utf-8")
    again = succeed(run("denoise", shop, "-o", "two.csv", "--model", "narrow", "--annotate", "--json"))
    assert "score" in again["seconds"]  # type: ignore[operator]
    assert Path("one.csv").read_bytes() != Path("two.csv").read_bytes()


def test_stage_by_stage_gives_the_scores_of_denoise(run, shop: Path, stages) -> None:
    stages()
    arguments = ["--annotate", "--budget", "5%", "--json"]
    by_model = succeed(run("denoise", shop, "-o", "one.csv", "--model", "model", *arguments))
    assert "pretrain" not in by_model["seconds"]  # type: ignore[operator]
    assert not Path("cache/pretrain").exists()
    at_once = succeed(run("denoise", shop, "-o", "two.csv", "--cache-dir", "fresh", *QUICK, *arguments))
    assert {"embed", "pretrain", "align"} <= set(at_once["seconds"])  # type: ignore[call-overload]
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()
    same = set(by_model) - {"seconds", "warnings", "output"}
    assert {key: by_model[key] for key in same} == {key: at_once[key] for key in same}
    assert pd.read_csv("one.csv")["noise_score"].nunique() > 500


def test_a_model_judges_a_log_it_was_not_made_of(run, shop: Path, stages) -> None:
    stages()
    frame = pd.read_csv(shop)
    frame.loc[10, "item_id"] = "never seen"
    frame.iloc[5:900].to_csv("part.csv", index=False)
    succeed(run("denoise", "part.csv", "-o", "one.csv", "--model", "model", "--annotate", "--json"))
    judged = pd.read_csv("one.csv")
    assert len(judged) == 895
    assert judged["reason"][5] == "unscored: the model does not know the item"
    assert judged["noise_score"].notna().mean() > 0.8


def test_items_from_a_file_of_their_own(run, shop: Path, stages) -> None:
    stages()
    said = succeed(run("embed", EXAMPLES / "items.csv", "-o", "all", *ENCODER, "--json"))
    assert said["items"] == len(pd.read_csv(EXAMPLES / "items.csv"))
    align = ["align", shop, "--pretrained", "gru", "--vectors", "all", "-o", "other", *ALIGN, "--json"]
    # The file may know titles of items that the log leaves blank.
    assert succeed(run(*align))["with_vector"] >= 474  # type: ignore[operator]


def test_embed_tells_items_without_text_apart(run, stages, shop: Path) -> None:
    stages()
    table = pq.read_table("vectors/items.parquet").to_pandas()
    vectors = load_file("vectors/vectors.safetensors")["vectors"]
    titles = pd.read_csv(shop).groupby("item_id")["title"].first()
    assert (~table["known"]).sum() == 5
    assert titles[table.loc[~table["known"], "item_id"]].isna().all()
    assert np.allclose(np.linalg.norm(vectors[table["known"]], axis=1), 1, atol=1e-5)
    assert not vectors[~table["known"]].any()


def test_align_without_vectors_warns_and_works(run, shop: Path) -> None:
    pd.read_csv(shop).drop(columns="title").to_csv("bare.csv", index=False)
    succeed(run("pretrain", "bare.csv", "-o", "gru", *PRETRAIN, "--json"))
    plain = run("align", "bare.csv", "--pretrained", "gru", "-o", "model", *ALIGN)
    assert plain.exit_code == 0, plain.output
    assert "warning: No --vectors: rows will be judged on collaboration alone" in plain.stderr
    said = run("align", "bare.csv", "--pretrained", "gru", "-o", "again", *ALIGN, "--json")
    assert succeed(said)["with_vector"] == 0
    assert "collaboration alone" in json.loads(said.stdout)["warnings"][0]
    assert "embed" not in manifest("model")["inputs"]  # type: ignore[operator]
    succeed(run("denoise", "bare.csv", "-o", "one.csv", "--model", "model", "--annotate", "--json"))
    with_all = run("denoise", "bare.csv", "-o", "two.csv", "--annotate", *QUICK)
    assert with_all.exit_code == 0, with_all.output
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()


def numbers_of_table(text: str) -> dict[str, float]:
    rows = re.findall(r"^ *(5|10|20) +([\d.]+) +([\d.]+) +([\d.]+) *$", text, re.MULTILINE)
    return {f"{name}@{k}": float(value) for k, *values in rows for name, value in zip(("HR", "NDCG", "MRR"), values)}  # noqa: B905


def test_evaluate_says_the_same_in_every_way(run, shop: Path, stages) -> None:
    stages()
    said = succeed(run("evaluate", shop, "--model", "gru", "-o", "report", "--json"))
    test = said["test"]
    assert isinstance(test, dict)
    assert said["users"] == int((pd.read_csv(shop)["user_id"].value_counts() >= 3).sum())
    assert said["items"] == 479
    stored = json.loads(Path("report/metrics.json").read_text(encoding="utf-8"))
    assert stored["test"] == test
    assert manifest("report")["kind"] == "evaluate"
    assert manifest("report")["facts"]["test"] == test  # type: ignore[index]
    ranks = pq.read_table("report/ranks.parquet").to_pandas()
    assert len(ranks) == said["users"] == ranks["user_id"].nunique()
    for k in (5, 10, 20):
        near = ranks["rank"] <= k
        assert np.isclose(test[f"HR@{k}"], near.mean())
        assert np.isclose(test[f"MRR@{k}"], (near / ranks["rank"]).mean())
        assert np.isclose(test[f"NDCG@{k}"], (near / np.log2(ranks["rank"] + 1)).mean())
    table = run("evaluate", shop, "--model", "gru")
    assert table.exit_code == 0
    assert table.stdout == ""
    assert "nothing was written: name a folder with -o for metrics.json and ranks.parquet" in table.stderr
    shown = numbers_of_table(table.stderr)
    assert len(shown) == 9
    assert shown == {name: round(test[name], 4) for name in shown}
    assert set(said["seconds"]) == {"read", "rank"}  # type: ignore[call-overload]
    aligned = succeed(run("evaluate", shop, "--model", "model", "-o", "aligned", "--json"))
    assert aligned["kind"] == "align"
    assert aligned["test"] != test
    assert manifest("aligned")["inputs"]["model"] == manifest("model")["seal"]  # type: ignore[index]
    again = succeed(run("evaluate", shop, "--model", "gru", "-o", "report2", "--json"))
    assert again["test"] == test
    assert files("report") == files("report2")


def test_a_log_that_is_changed_while_it_is_ranked_is_not_told_of(
    run, shop: Path, stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages()
    rank = ranking.held_out_ranks

    def changing(*arguments: Any) -> Any:
        shop.write_bytes(shop.read_bytes() + b"\n")
        return rank(*arguments)

    monkeypatch.setattr(ranking, "held_out_ranks", changing)
    result = run("evaluate", shop, "--model", "gru", "-o", "report")
    assert result.exit_code == 1
    assert "was changed while iadsr worked on what it had read from it" in result.stderr
    assert not Path("report").exists()


@pytest.mark.parametrize("command", ["embed", "pretrain", "evaluate", "denoise"])
def test_quiet_is_silent_on_success(run, shop: Path, command: str) -> None:
    options = {
        "embed": ENCODER,
        "pretrain": ["--pretrain-epochs", "1"],
        "evaluate": ["--quick", "--pretrain-epochs", "1", "--align-epochs", "1", *ENCODER],
        "denoise": ["--pretrain-epochs", "1", "--align-epochs", "1", *ENCODER],
    }
    target = "out.csv" if command == "denoise" else "out"
    result = run(command, shop, "-o", target, "--quiet", *options[command])
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert Path(target).exists()


def test_removed_rows_on_standard_output_send_the_summary_to_standard_error(run, shop: Path) -> None:
    arguments = ["--removed", "-", "-o", "clean.csv", "--budget", "5%", "--json"]
    result = run("denoise", shop, *arguments, "--pretrain-epochs", "1", "--align-epochs", "1", *ENCODER)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].endswith("noise_score,reason")
    assert json.loads(result.stderr)["removed"] == len(result.stdout.splitlines()) - 1


# The closing table.


def closing(text: str) -> dict[str, list[str]]:
    """Return the closing table by its first column."""
    lines = text[text.index(" rows ") :].splitlines()
    names = ("in the log", "kept", "protected", "unscored", "removed", "would be kept", "would be removed")
    found = {}
    for line in lines:
        match = re.match(rf" +({'|'.join(names)})  +(.*)", line)
        if match:
            found[match[1]] = match[2].split()
    return found


def test_the_closing_table_is_the_summary(run, shop: Path) -> None:
    quick = ["--pretrain-epochs", "1", "--align-epochs", "1", *ENCODER, "--budget", "10%"]
    said = succeed(run("denoise", shop, "--dry-run", "--json", *quick))
    result = run("denoise", shop, "-o", "clean.csv", "--annotate", *quick, env={"COLUMNS": "80"})
    table = closing(result.stderr[result.stderr.index("Wrote clean.csv") :])
    frame = pd.read_csv("clean.csv")
    groups = {
        "in the log": frame["keep"].notna(),
        "kept": frame["keep"],
        "protected": frame["reason"].str.startswith("protected"),
        "unscored": frame["reason"].str.startswith("unscored"),
        "removed": ~frame["keep"],
    }
    assert set(table) == set(groups)
    for name, chosen in groups.items():
        part = frame[chosen]
        expected = [len(part), f"{len(part) / len(frame):.1%}", part["user_id"].nunique(), part["item_id"].nunique()]
        assert table[name] == [f"{value:,}" if isinstance(value, int) else value for value in expected], name
    for key in ("kept", "protected", "unscored", "removed"):
        assert said[key] == groups[key].sum() > 0
    counts = frame["item_id"].value_counts()
    fifths = [float(value.rstrip("%")) for value in re.findall(r"by item frequency +(.*)", result.stderr)[0].split()]
    assert len(fifths) == 5
    shares = said["removed_share_by_item_frequency_fifth"]
    assert fifths == [round(100 * share, 1) for share in shares]  # type: ignore[attr-defined]
    top = frame["item_id"].isin(counts.index[counts > counts.quantile(0.81)])
    assert abs(100 * (~frame["keep"])[top].mean() - fifths[4]) < 3
    assert re.search(r"slowest stage: \w+, [\d.]+ s of [\d.]+ s", result.stderr)
    assert max(map(len, result.stderr.splitlines())) <= 130, "only the stages' details may be longer"
    after = result.stderr[result.stderr.index("Wrote clean.csv") :]
    assert max(map(len, after.splitlines())) <= 80


def test_when_nothing_is_removed_it_says_why_and_what_to_do(run, shop: Path) -> None:
    quick = ["--pretrain-epochs", "1", "--align-epochs", "1", *ENCODER]
    result = run("denoise", shop, "-o", "clean.csv", "--threshold", "0.99", "--annotate", *quick)
    highest = pd.read_csv("clean.csv")["noise_score"].max()
    assert f"no row scored above 0.99; the highest is {highest:.2g}." in result.stderr
    # No budget is promised to remove what the limits keep.
    assert "With --budget 5%, up to 5% of the rows go all the same, the most suspicious that the" in result.stderr
    result = run("denoise", shop, "--dry-run", "--threshold", "0", "--max-user-share", "0", *quick)
    assert re.search(r"1,\d+ rows looked like noise and stayed: see --max-user-share", result.stderr)
    result = run("denoise", shop, "--dry-run", "--budget", "0%", *quick)
    assert "the budget comes to no row that may go" in result.stderr
    assert closing(result.stderr)["would be removed"][0] == "0"


def test_where_item_embeddings_are_kept_changes_no_byte(run, stages, refused) -> None:
    stages("-here", "--device", "cpu", "--config", sampled())
    stages("-there", "--device", "cpu", "--config", sampled("host"))
    assert files("gru-here") == files("gru-there")
    assert files("model-here") == files("model-there")
    refused(
        "pretrain", "shop.csv", "-o", "gru", *PRETRAIN, "--item-table", "host", "--cache-dir", "other",
        code=2,
        error="--item-table is host, and the softmax over all",
        hint="Add --loss sampled, or leave out --item-table.",
    )  # fmt: skip


def sampled(table: str = "auto") -> Path:
    """Write settings of a sampled loss that only some commands have."""
    path = Path(f"{table}.toml")
    path.write_text(f'loss = "sampled"\nitem_table = "{table}"\n', encoding="utf-8")
    return path
