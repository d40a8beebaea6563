import copy
import html as markup
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from iadsr_cli.evaluation.report import KINDS, render, write
from iadsr_cli.evaluation.wording import DASH

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "&lt;b&gt; &amp; <b>",
    "]]><!-- <iframe src=//example.org>",
]
TITLES = [
    "Rose Water Toner, 200 ml",
    "Argan Oil Shampoo for Dry and Damaged Hair with Keratin and Coconut, Sulphate Free, Value Pack of 2",
    "Nail File Set",
    "Lavender Hand Cream",
    "زيت الأرغان المغربي الأصلي",
    "🌸💄 Lip Balm 🍓✨ (SPF 15)",
    "מסכת פנים עם בוץ מים המלח",
    "日焼け止めクリーム SPF50+",
    "Boar Bristle Brush",
    "Micellar Water",
    "Vitamin C Serum",
    "Eyelash Curler",
]
SCORERS = {"popularity": 0.69, "text": 0.70, "co-occurrence": 0.72, "svd": 0.76, "iadsr": 0.85, "random": 0.5}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
BROWSED = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


class Page(HTMLParser):
    """Everything a test asks of a page: its elements with attributes, and the text between them."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.first_heading, self.cells = None, []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            return
        self.texts.append(data)
        if self.first_heading is None and self.open and re.fullmatch(r"h\d", self.open[-1]):
            self.first_heading = data

    @property
    def text(self):
        return "\n".join(self.texts)

    def all(self, attribute):
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def interval(mean, half=0.012):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def arm(name, hr, change=None):
    return {
        "arm": name,
        "HR@10": hr,
        "NDCG@10": hr * 0.55,
        "MRR@10": hr * 0.41,
        "cold_HR@10": hr / 4,
        "coverage": 0.412,
        "change": None
        if change is None
        else {"HR@10": interval(change), "NDCG@10": interval(change * 0.9, 0.015), "MRR@10": interval(change * 0.8)},
    }


def tried(hr, change=None):
    return {"HR@10": hr, "change": None if change is None else {"HR@10": interval(change)}}


def detection():
    rng = np.random.default_rng(0)
    results = []
    for scorer, base in SCORERS.items():
        for shift, kind in enumerate(list(KINDS)[:5]):
            for seed in range(3):
                auroc = base - 0.02 * shift + rng.normal(0, 0.004)
                fifth = {"rows": 9000, "noise": 900, "auroc": auroc, "removed_share": 0.05, "over_denoising": 0.03}
                results.append(
                    {
                        "scorer": scorer, "kind": kind, "rate": 0.1, "seed": seed, "auroc": auroc,
                        "average_precision": 0.4, "precision": 0.52, "recall": 0.31, "f1": 0.388,
                        "over_denoising": 0.027, "under_denoising": 0.69, "removed_share": 0.05,
                        "over_denoising_gap": 0.021,
                        "by_frequency_fifth": [{**fifth, "under_denoising": 0.5 + place / 20} for place in range(5)],
                    }
                )  # fmt: skip
    return results


@pytest.fixture(scope="module")
def rich():
    """Metrics with every section, of the size that a study has."""
    bins = np.linspace(0.05, 0.95, 10)
    recall = np.linspace(0, 1, 100)
    first = {"kind": "insert-uniform", "rate": "10%", "seed": 7}
    return {
        "schema_version": 3,
        "version": "0.1.0",
        "verdict": "Cleaning removes 5.0% of the rows that train and helps: neighbours HR@10 +3.2% [+2.0, +4.4]; "
        "gru4rec HR@10 +3.2% [+2.0, +4.4]; rare items lose 7.1 points more of their rows.",
        "verdict_kind": "helps",
        "notes": ["Three seeds; the interval is over users.", "8% of the items have no text."],
        "log": {"name": "beauty.parquet", "rows": 198502, "users": 22363, "items": 12101, "items_with_text": 12023},
        "settings": {
            "decision.method": "iadsr", "study.noise": list(KINDS)[:5], "loop.patience": 4, "budget": "5%",
            "seed": 0, "dropout": 0.3, "text-column": None, "force": False,
        },
        "detection": detection(),
        "histogram": {
            **first,
            "edges": np.linspace(0, 1, 31).tolist(),
            "parts": [
                {
                    "name": "other rows", "median": 0.123,
                    "counts": (1000 * np.exp(-np.linspace(-1.2, 3, 30) ** 2)).tolist(),
                },
                {
                    "name": "injected noise", "median": 0.789,
                    "counts": (90 * np.exp(-np.linspace(-3, 1.4, 30) ** 2)).tolist(),
                },
            ],
        },
        "precision_recall": {
            **first,
            "share": 0.0909,
            "curves": [
                {
                    "scorer": scorer,
                    "recall": recall.tolist(),
                    "precision": (0.09 + (base - 0.5) * 2 * (1 - recall) ** (1.5 - base)).tolist(),
                }
                for scorer, base in SCORERS.items()
            ],
        },
        "calibration": {
            **first,
            "bins": [{"predicted": p, "observed": p**1.3, "rows": 5000 * (1.02 - p) ** 3} for p in bins.tolist()],
            "expected_calibration_error": 0.0431,
        },
        "ranking": [
            {
                "recommender": recommender,
                "noise": noise,
                "seeds": 3,
                "users": 22363,
                "arms": [
                    arm("raw", 0.0631),
                    arm("cleaned training", 0.0651, 0.0321),
                    arm("cleaned training and history", 0.0641, 0.009),
                    arm("random removal", 0.0607, -0.0384),
                    *([arm("oracle", 0.0699, 0.1074)] if noise else []),
                ],
                "recovered_share": 0.298 if noise else None,
                "recovered_share_withheld": None,
            }
            for recommender in ("item-neighbours", "gru4rec")
            for noise in (None, "insert-uniform 30%")
        ],
        "thresholds": {
            "recommender": "neighbours", "users": 20000, "seeds": 3, "advised": 0.3,
            "advice": "--threshold 0.3 would serve item neighbours better: it removes 9.5% of the rows.",
            "own": {"removed_share": 0.05, "validation": tried(0.0801), "test": tried(0.0641)},
            "thresholds": [
                {"threshold": 0.5, "removed_share": 0.05, "validation": tried(0.0801, 0), "test": tried(0.0641, 0)},
                {"threshold": 0.3, "removed_share": 0.0951, "validation": tried(0.09, 0.12), "test": tried(0.07, 0.1)},
            ],
        },
        "cleaning": {
            "of": "rows that train", "seeds": [7, 8, 9],
            "rows": 198502, "removed": 9925, "removed_share": 0.05, "protected": 1204, "unscored": 311,
            "users_touched": 8044, "by_frequency_fifth": [0.0912, 0.0633, 0.0441, 0.0312, 0.0204],
            "by_history_length": [
                {"from": 1, "to": 4, "rows": 900, "share": 0.0},
                {"from": 5, "to": 5, "rows": 30000, "share": 0.031},
                {"from": 6, "to": 10, "rows": 90000, "share": 0.052},
                {"from": 11, "to": 50, "rows": 60000, "share": 0.061},
                {"from": 51, "to": 204, "rows": 17602, "share": 0.048},
            ],
            "cold_gap": 0.0708, "estimated_noise_share": None,
        },
        "judged": {"of": "rows that train", "seed": 7},
        "suspicious": [
            {
                "user": f"A2K{number:05d}QX", "item": f"B00{number:07d}", "title": TITLES[number % 12],
                "score": 0.991 - number / 100, "removed": number % 4 != 3,
                "reason": "removed: the item's text does not fit the behaviour here (cosine -0.40, lowest 1% of rows)",
                "others": TITLES[: 2 + number % 11], "others_count": 2 + number % 11 + number % 3,
            }
            for number in range(20)
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def page(rich):
    return Page(render(rich))


def hostile(metrics):
    """The same metrics with a hostile string in every place that comes from a log or a command line."""
    metrics, texts = copy.deepcopy(metrics), iter(HOSTILE * 100)
    metrics["log"]["name"] = next(texts)
    metrics["verdict"] = next(texts)
    metrics["notes"] = HOSTILE
    metrics["settings"] = dict(zip(HOSTILE, HOSTILE[::-1], strict=True))
    metrics["version"] = next(texts)
    for study in metrics["ranking"]:
        study["recommender"], study["noise"] = next(texts), next(texts)
        for each in study["arms"]:
            each["arm"] += next(texts)
    for result in metrics["detection"]:
        result["scorer"] += HOSTILE[1]
        result["kind"] += HOSTILE[0]
    for row in metrics["suspicious"]:
        for key in ("user", "item", "title", "reason"):
            row[key] = next(texts)
        row["others"] = HOSTILE
    return metrics


def test_the_verdict_is_the_first_heading(rich, page):
    assert page.first_heading == rich["verdict"]
    assert "helps" in [text.strip() for text in page.texts]
    assert all(note in page.texts for note in rich["notes"])


def test_sections_come_in_the_order_of_a_readers_questions(page):
    headings = [
        "Does a recommender get better?",
        "Would another threshold serve better?",
        "Are noisy rows found?",
        "Whom does cleaning hurt?",
        "The most suspicious rows",
        "How it was measured",
    ]
    places = [page.texts.index(heading) for heading in headings]
    assert places == sorted(places)


def test_thresholds_stand_next_to_the_decision_as_it_was_set(rich, page):
    assert rich["thresholds"]["advice"] in page.texts
    text = " ".join(page.text.split())
    assert "as set 5.0% 0.0801 0.0641 0.5 5.0%" in text
    assert "0.3 9.5% 0.0900 +12.0% (+10.8 to +13.2) 0.0700 +10.0% (+8.8 to +11.2)" in text


def test_what_a_log_says_stays_text(rich):
    metrics = hostile(rich)
    html = render(metrics)
    found = Page(html)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "iframe", "img", "object", "embed", "base", "form", "foreignobject", "image"}
    names = {name for _, attributes in found.elements for name in attributes}
    assert not [name for name in names if name.startswith("on")]
    assert found.first_heading == metrics["verdict"]
    said = [*metrics["notes"], *metrics["settings"], *metrics["settings"].values()]
    for row in metrics["suspicious"]:
        said += [row["user"], row["item"], row["title"], row["reason"], *row["others"]]
    assert not [text for text in said if text not in found.texts]
    assert metrics["log"]["name"] in found.texts
    # Autoescaping is on for what stands in attributes too, such as the labels of charts and tables.
    assert any(HOSTILE[1] in label for label in found.all("aria-label"))


def test_charts_hold_nothing_of_the_log(rich):
    metrics = copy.deepcopy(rich)
    metrics["log"]["name"] = "LEAK"
    for row in metrics["suspicious"]:
        row.update(user="LEAK", item="LEAK", title="LEAK", others=["LEAK"])
    html = render(metrics)
    assert "LEAK" in html
    assert not [svg for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL) if "LEAK" in svg]


def test_the_page_needs_nothing_from_elsewhere(rich):
    html = render(hostile(rich))
    found = Page(html)
    for attribute in ("src", "srcset", "href", "xlink:href", "action", "poster", "data", "background"):
        assert all(re.match(r"#|data:,$", value) for value in found.all(attribute)), attribute
    styles = [*re.findall(r"<style>(.*?)</style>", html, re.DOTALL), *found.all("style"), *found.all("clip-path")]
    assert len(styles) > 10
    for style in styles:
        assert "@import" not in style
        assert all(target.startswith("#") for target in re.findall(r"url\(\s*[\"']?(.)", style))


def test_the_page_forbids_what_it_does_not_need(page):
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and "content-security" in str(a).lower()]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["style-src"] == "'unsafe-inline'"
    assert rules["img-src"] == "data:"
    assert "script-src" not in rules


def test_ids_are_unique_and_references_lead_somewhere(rich):
    html = render(rich)
    ids = Page(html).all("id")
    assert ids
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', html))
    assert {name for pair in used for name in pair if name} == set(ids)


def test_charts_take_their_colours_from_the_page_and_say_what_they_show(page):
    charts = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(charts) == 4 + 1 + 1 + 1 + 2
    assert all(chart["role"] == "img" and len(chart["aria-label"]) > 40 for chart in charts)
    painted = re.findall(r"(?:fill|stroke): ([^;]+)", "; ".join(page.all("style")))
    assert set(painted) <= {
        "none", *(f"var(--{name})" for name in ("ink", "faint", "rule")), *(f"var(--series-{n})" for n in range(1, 7))
    }  # fmt: skip
    # A style sheet inside an SVG would act on the whole page.
    assert len([tag for tag, _ in page.elements if tag == "style"]) == 1


def test_the_same_metrics_give_the_same_bytes(rich, tmp_path):
    write(rich, tmp_path / "one.html")
    write(json.loads(json.dumps(rich)), tmp_path / "two.html")
    written = (tmp_path / "one.html").read_bytes()
    assert written == (tmp_path / "two.html").read_bytes()
    assert written.decode() == render(rich)


def test_a_page_can_be_attached_to_a_message(rich):
    assert len(render(rich).encode()) < 200_000
    large = copy.deepcopy(rich)
    for row in large["suspicious"]:
        row.update(title="<" * 5000, others=["&" * 5000] * 12, user="u" * 5000)
    assert len(render(large).encode()) < 500_000


def test_a_section_may_be_missing(rich):
    shown = {
        "ranking": "Does a recommender get better?",
        "thresholds": "Would another threshold serve better?",
        "precision_recall": "Precision and recall",
        "histogram": "Distribution of scores",
        "calibration": "Calibration of the scores",
        "detection": "What iadsr removes of it",
        "cleaning": "Removed share by length of history",
        "suspicious": "The most suspicious rows",
        "settings": "Settings",
        "log": "items with text",
        "notes": rich["notes"][0],
        "version": "iadsr 0.1.0, report on ",
    }
    assert set(shown) == set(rich) - {"schema_version", "verdict", "verdict_kind", "judged"}
    small = {**rich, "ranking": rich["ranking"][:1]}
    always = {name: rich[name] for name in ("log", "settings")}
    for section, words in shown.items():
        assert words in only(**{**always, section: rich[section]}).text
        assert words not in only(**{key: value for key, value in small.items() if key != section}).text
    assert render({"verdict": ""}).count("</section>") == 1


def blank(value, missing):
    """The same structure with `missing` for every number."""
    if isinstance(value, dict):
        return {key: blank(each, missing) for key, each in value.items()}
    if isinstance(value, list):
        return [blank(each, missing) for each in value]
    return missing if isinstance(value, int | float) and not isinstance(value, bool) else value


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_a_number_that_is_missing_shows_as_a_dash(rich, missing):
    metrics = blank({key: value for key, value in rich.items() if key != "schema_version"}, missing)
    metrics |= {"ranking": metrics["ranking"][:1], "judged": rich["judged"]}
    metrics["cleaning"]["seeds"] = [7]
    html = render(metrics)
    text = Page(html).text
    assert text.count(DASH) > 100
    assert not re.search(r"\b(nan|inf|None)\b", text, re.IGNORECASE)
    assert "nan" not in re.sub(r"\w*nan\w+|\w+nan\b", "", " ".join(re.findall(r'd="([^"]*)"', html)))


def only(**sections):
    return Page(render({"verdict": "So it is.", **sections}))


def test_changes_show_with_sign_and_interval(rich):
    texts = only(ranking=rich["ranking"][:1]).texts
    assert "+3.2% (+2.0 to +4.4)" in texts
    assert "+0.9% (−0.3 to +2.1)" in texts
    assert "−3.8% (−5.0 to −2.6)" in texts
    assert {"0.0631", "0.0651", "0.0607", "41.2%"} <= set(texts)
    caption = next(text for text in texts if text.startswith("HR@10 against raw"))
    assert caption == (
        "HR@10 against raw: cleaned training +3.2% (above zero); "
        "cleaned training and history +0.9% (the interval includes zero); random removal −3.8% (below zero)."
    )


def test_a_change_that_rounds_to_zero_has_no_sign():
    arms = [arm("raw", 0.05), arm("cleaned training", 0.05, -0.0001)]
    assert "0.0% (−1.2 to +1.2)" in only(ranking=[{"recommender": "gru4rec", "arms": arms}]).texts


def test_dots_stand_where_the_numbers_say():
    arms = [arm("raw", 0.05), arm("better", 0.06, 0.2), arm("worse", 0.04, -0.2)]
    html = render({"verdict": "", "ranking": [{"recommender": "gru4rec", "arms": arms}]})
    zero = float(re.search(r'd="M ([\d.]+) [^"]*"[^>]*stroke: var\(--ink\)', html)[1])
    better, worse = (float(x) for x in re.findall(r'<use href[^>]* x="([\d.]+)"[^>]*series-1', html))
    assert better - zero == pytest.approx(zero - worse, abs=0.3)
    assert better > zero + 50


def test_auroc_is_the_mean_over_seeds_and_the_best_of_a_column_is_bold():
    runs = {"iadsr": [0.80, 0.81, 0.82], "svd": [0.7, 0.9, 0.86], "text": [0.6, 0.6, None]}
    found = [
        {"scorer": scorer, "kind": "insert-uniform", "rate": "10%", "seed": seed, "auroc": auroc}
        for scorer, values in runs.items()
        for seed, auroc in enumerate(values)
    ]
    html = render({"verdict": "", "detection": found})
    # 4.303 * 0.01 / sqrt(3)
    assert "<td>0.810<small>± 0.025</small></td>" in html
    assert "<td><strong>0.820</strong><small>± 0.263</small></td>" in html
    assert "<td>0.600<small>± 0.000 2 of 3 seeds</small></td>" in html
    assert html.count("<strong>") == 1
    assert "10%" in Page(html).texts


def test_the_tools_own_scorer_is_the_method_of_the_settings(rich):
    found = [{**run, "precision": 0.123} if run["scorer"] == "svd" else run for run in rich["detection"]]
    texts = only(detection=found, settings={"decision.method": "svd"}).texts
    assert "What svd removes of it" in texts
    assert "12.3%" in texts
    assert "12.3%" not in only(detection=found, settings=rich["settings"]).texts
    without = only(detection=found, cleaning=rich["cleaning"], settings={"decision.method": "crossfit"}).text
    assert "removes of it" not in without, "no other scorer stands in for a method that was not asked for"
    assert "on known noise by item frequency" not in without


def test_an_interval_as_wide_as_all_that_is_possible_is_left_out():
    runs = [
        {"scorer": "svd", "kind": "labels", "rate": None, "seed": seed, "auroc": 0.8, "precision": hit, "recall": 0.1}
        for seed, hit in enumerate([0.0, 0.667])
    ]
    html = render({"verdict": "", "detection": runs, "settings": {"decision.method": "svd"}})
    assert "<td>33.4%</td>" in html
    assert "<td>10.0%<small>± 0.0</small></td>" in html
    assert "left out where the interval would be as wide as all that is possible" in html


def test_counts_are_told_as_they_are(rich):
    cleaning = {**rich["cleaning"], "removed": 0.5, "by_history_length": rich["cleaning"]["by_history_length"][:1]}
    ranking = [{**rich["ranking"][0], "seeds": 1}]
    text = " ".join(only(cleaning=cleaning, ranking=ranking).text.split())
    assert "removed 0.5" in text
    assert "seed 1" in text and "seeds 1" not in text
    assert "Users with 1–4 rows that train lose 0.0% of them. The dashed line is all rows that train: 5.0%." in text
    one = [run for run in rich["detection"] if run["scorer"] == "iadsr"][:1]
    assert "the mean of" not in only(cleaning=cleaning, detection=one, settings=rich["settings"]).text


def test_a_share_that_is_withheld_is_said_to_be(rich):
    study = {**rich["ranking"][1], "recovered_share": None, "recovered_share_withheld": "Nothing is shown."}
    text = only(ranking=[study]).text
    assert "Nothing is shown." in text and "recovered" not in text


def test_whom_cleaning_hurts_is_told_in_numbers(rich):
    texts = only(cleaning=rich["cleaning"]).texts
    meaning = "Rows that train are all but the last two of each user"
    assert meaning in " ".join(texts)
    assert meaning not in only(cleaning={**rich["cleaning"], "of": "rows"}).text
    assert {"9,925", "+7.1 points", "9.1%", "2.0%", "6–10", "51–204", "5"} <= set(texts)
    assert any("rarest fifth of items 9.1%" in text for text in texts)


def test_captions_tell_medians_and_precision_and_which_noise_is_drawn(rich):
    curve = {"scorer": "iadsr", "recall": [1, 0.5, 0], "precision": [0.1, 0.4, 1]}
    found = {**rich["precision_recall"], "share": 0.1, "curves": [curve, {**curve, "recall": [], "precision": []}]}
    text = only(
        histogram=rich["histogram"], precision_recall=found, calibration=rich["calibration"], settings=rich["settings"]
    ).text
    assert "The median is 0.123 (other rows) and 0.789 (injected noise). Noise: insert-uniform 10%, seed 7." in text
    assert "iadsr 40.0%. The level grey line is a random choice: 10.0%. Noise: insert-uniform 10%, seed 7." in text
    assert text.count("Noise: insert-uniform 10%, seed 7.") == 3


def test_titles_are_isolated_in_their_own_direction(rich):
    html = render(rich)
    assert f'<li dir="auto">{TITLES[4]}</li>' in html
    assert f'<h3 dir="auto">{TITLES[6]}</h3>' in html
    assert "overflow-wrap: anywhere" in html


def test_a_row_tells_how_many_more_items_its_user_has(rich):
    row = {**rich["suspicious"][0], "others": ["one", "two"], "others_count": 1236, "title": None, "reason": ""}
    texts = only(suspicious=[row]).texts
    assert "and 1,234 more" in texts
    assert texts.count(row["item"]) == 2, "without a title the item's id is the heading"


def test_importing_the_report_draws_nothing_in():
    code = "import sys, iadsr_cli.evaluation.report; print({'torch', 'matplotlib', 'jinja2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


WHOLE_PAGE = "document.documentElement.scrollWidth"
CUT_OF_TABLES = (
    "Math.max(...Array.from(document.querySelectorAll('.study .scroll'), t => t.scrollWidth - t.clientWidth))"
)


def measured(page, width, folder, *, dark=False, what=WHOLE_PAGE):
    """Return what a script says of a page in a window of `width` CSS pixels: how wide it would be scrolled."""
    # The page allows no script, so one outside of its frame measures it.
    outside = folder / "outside.html"
    outside.write_text(
        f'<!doctype html><iframe id="page" style="width: {width}px; height: 900px; border: 0" '
        f'srcdoc="{markup.escape(page)}"></iframe><script>'
        "onload = () => { const inside = window.document.getElementById('page').contentDocument; "
        f"document.title = 'found ' + (document => {what})(inside) }}</script>",
        encoding="utf-8",
    )
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    scheme = [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    command = [CHROMIUM, *options, *scheme, outside.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"<title>found (\d+)</title>", shown)
    assert found, shown[-500:]
    return int(found[1])


@BROWSED
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_does_not_scroll_sideways(rich, width, dark, tmp_path):
    metrics = {**rich, "suspicious": [{**row, "title": "W" * 400} for row in rich["suspicious"]]}
    assert measured(render(metrics), width, tmp_path, dark=dark) <= width


@BROWSED
def test_a_page_that_is_too_wide_is_found(tmp_path):
    wide = render({"verdict": ""}).replace("<main>", '<main><div style="width: 500px">x</div>')
    assert measured(wide, 390, tmp_path) > 390


@BROWSED
@pytest.mark.parametrize("width", [1180, 1200, 1600])
def test_no_ranking_table_is_cut_beside_its_chart(rich, width, tmp_path):
    metrics = copy.deepcopy(rich)
    for study in metrics["ranking"]:
        for one in study["arms"][1:]:
            for change in one["change"].values():
                change.update(mean=-0.1234, low=-0.2345, high=1.2345)
    assert measured(render(metrics), width, tmp_path, what=CUT_OF_TABLES) == 0
