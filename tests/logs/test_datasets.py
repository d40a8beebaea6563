"""Logs as their publishers write them: RecBole's atomic files and Amazon's reviews, on generated lines."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written import write_rows

from iadsr_cli.config import ItemsSettings, LogSettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.logs.reader import read_items, read_log
from iadsr_cli.logs.schema import Roles
from iadsr_cli.logs.writer import check_rows

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ITEM = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"


def test_recbole(tmp_path):
    rows = ["196\t242\t3\t881250949\n", "186\t302\t3.0\t891717742.0\n", "22\t377\t1\t878887116\n"]
    (tmp_path / "ml.inter").write_text(INTER + "".join(rows))
    items = "242\tKolya\t1996\tComedy\n302\tL.A. Confidential\t1997\tCrime\n377\tHeavyweights\t1994\tX Y\n"
    (tmp_path / "ml.item").write_text(ITEM + items)
    log = read_log(str(tmp_path / "ml.inter"), LogSettings())
    assert log.roles == Roles("user_id:token", "item_id:token", "timestamp:float", ())
    assert log.time_description == "timestamp:float (unix seconds)"
    assert np.argsort(log.order()).tolist() == [2, 0, 1]
    texts = read_items(str(tmp_path / "ml.item"), LogSettings())
    assert dict(zip(texts.ids, texts.texts, strict=True)) == {
        "242": "Kolya", "302": "L.A. Confidential", "377": "Heavyweights"
    }  # fmt: skip
    assert texts.columns == ("movie_title:token_seq",)
    write_rows(log, str(tmp_path / "clean.inter"), np.array([0, 2]))
    assert (tmp_path / "clean.inter").read_text() == INTER + rows[0] + rows[2]
    added = {"noise_score": np.array([0.5]), "keep": np.array([True]), "reason": pa.array(["kept"])}
    write_rows(log, str(tmp_path / "all.inter"), np.array([1]), extra=added)
    header = INTER[:-1] + "\tnoise_score:float\tkeep:token\treason:token\n"
    assert (tmp_path / "all.inter").read_text() == header + rows[1][:-1] + "\t0.5\ttrue\tkept\n"
    with pytest.raises(UsageError, match=r'all\.inter already has a column "keep:token", which the output would add'):
        check_rows(read_log(str(tmp_path / "all.inter"), LogSettings()), str(tmp_path / "b.inter"), ["keep"])
    # The types go with the names wherever the rows go.
    write_rows(log, str(tmp_path / "clean.csv"), np.array([0]))
    assert (tmp_path / "clean.csv").read_text() == INTER.replace("\t", ",") + rows[0].replace("\t", ",")


def test_recbole_columns_are_named_with_or_without_their_type(tmp_path):
    (tmp_path / "a.inter").write_text("who:token\twhat:token\twhen:float\n1\t2\t3\n")
    for names in (("who", "what", "when"), ("who:token", "what:token", "when:float")):
        settings = LogSettings(**dict(zip(("user_column", "item_column", "time_column"), names, strict=True)))
        assert read_log(str(tmp_path / "a.inter"), settings).roles == Roles("who:token", "what:token", "when:float", ())


def review_2014(number):
    return {
        "reviewerID": f"A{number % 3}XYZ", "asin": f"B00{number % 2}", "reviewerName": "J. \u201cD\u201d",
        "helpful": [0, number], "reviewText": f"Text {number}.", "overall": 5.0, "summary": "Good",
        "unixReviewTime": 1391040000 + number, "reviewTime": "01 30, 2014",
    }  # fmt: skip


def review_2023(number):
    return {
        "rating": 5.0, "title": f"Title {number}", "text": f"Text {number}", "images": [], "asin": f"B{number}",
        "parent_asin": f"P{number % 2}", "user_id": f"AG{number % 3}", "timestamp": 1588687728923 + number,
        "helpful_vote": 0, "verified_purchase": True,
    }  # fmt: skip


def test_amazon_2014(tmp_path):
    lines = [json.dumps(review_2014(number)) + "\n" for number in range(6)]
    (tmp_path / "reviews_Beauty_5.json.gz").write_bytes(gzip.compress("".join(lines).encode()))
    log = read_log(str(tmp_path / "reviews_Beauty_5.json.gz"), LogSettings())
    assert log.roles == Roles("reviewerID", "asin", "unixReviewTime", ())
    assert log.time_description == "unixReviewTime (unix seconds)"
    assert log.user_ids().to_pylist()[:2] == ["A0XYZ", "A1XYZ"]
    write_rows(log, str(tmp_path / "clean.json.gz"), np.array([1, 4]))
    assert gzip.decompress((tmp_path / "clean.json.gz").read_bytes()).decode() == lines[1] + lines[4]
    write_rows(log, str(tmp_path / "clean.parquet"), np.array([1, 4]))
    assert pq.read_table(tmp_path / "clean.parquet").to_pylist() == [review_2014(1), review_2014(4)]


def test_amazon_2023(tmp_path):
    lines = [json.dumps(review_2023(number)) + "\n" for number in range(6)]
    (tmp_path / "All_Beauty.jsonl").write_text("".join(lines))
    with pytest.raises(UsageError) as caught:
        read_log(str(tmp_path / "All_Beauty.jsonl"), LogSettings())
    assert 'could be the item column: "parent_asin", "asin".' in caught.value.message
    assert caught.value.hint == "Choose with --item-column parent_asin."
    settings = LogSettings(item_column="parent_asin")
    log = read_log(str(tmp_path / "All_Beauty.jsonl"), settings)
    assert log.roles == Roles("user_id", "parent_asin", "timestamp", ("title", "text"))
    assert log.time_description == "timestamp (unix milliseconds)"
    # Titles and texts of reviews say nothing of the item.
    assert not any(log.item_texts().texts)
    assert 'column "title" is not item text' in log.item_texts().rejected
    (tmp_path / "meta.jsonl").write_text(
        '{"main_category": "All Beauty", "title": "Soap", "description": ["Mild.", "Green."], "parent_asin": "P0"}\n'
        '{"main_category": "All Beauty", "title": "Oil", "description": [], "parent_asin": "P1"}\n'
    )
    texts = read_items(str(tmp_path / "meta.jsonl"), settings)
    assert dict(zip(texts.ids, texts.texts, strict=True)) == {"P0": "Soap. Mild. Green.", "P1": "Oil"}
    write_rows(log, str(tmp_path / "clean.jsonl"), np.array([0, 5]))
    assert (tmp_path / "clean.jsonl").read_text() == lines[0] + lines[5]


def test_a_json_list_is_no_log(tmp_path):
    (tmp_path / "reviews.json").write_text(json.dumps([review_2014(0)]))
    with pytest.raises(InputError, match="line 1: expected a JSON object, found a list") as caught:
        read_log(str(tmp_path / "reviews.json"), LogSettings())
    assert 'jq -c ".[]"' in caught.value.hint


def test_movielens_as_it_is_shipped(tmp_path):
    (tmp_path / "u.item").write_bytes("1|Toy Story (1995)|01-Jan-1995\n2|Cit\xe9 (1995)|\n".encode("latin-1"))
    log = LogSettings(delimiter="\\t", header=False, columns="user_id,item_id,rating,timestamp", time_unit="s")
    own = ItemsSettings(items_delimiter="|", items_columns="movie_id,movie_title,released", items_encoding="latin-1")
    texts = read_items(str(tmp_path / "u.item"), own.of(log))
    assert dict(zip(texts.ids, texts.texts, strict=True)) == {"1": "Toy Story (1995)", "2": "Cit\xe9 (1995)"}
    few = replace(own, items_columns="movie_id,title,...")
    assert read_items(str(tmp_path / "u.item"), few.of(log)).texts == texts.texts
    (tmp_path / "movies.dat").write_text("1::Toy Story (1995)::Animation\n2::Cube::Horror\n")
    log = LogSettings(delimiter="::", header=False, columns="user_id,item_id,rating,timestamp")
    texts = read_items(str(tmp_path / "movies.dat"), ItemsSettings(items_columns="item_id,title,genres").of(log))
    assert texts.texts == ["Toy Story (1995)", "Cube"]
