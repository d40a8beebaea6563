import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iadsr_cli.config import DecisionSettings
from iadsr_cli.cosines import noise_score
from iadsr_cli.crossfit.evidence import NAMES, SAID, family
from iadsr_cli.decisions import BestOfItems, Decisions, decide
from iadsr_cli.errors import UsageError
from iadsr_cli.explanations import explain
from iadsr_cli.protections import Protections
from iadsr_cli.scores import Scores, Status

ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.one_of(st.just(np.nan), st.sampled_from([0.0, 0.4, 0.5, 0.6, 0.9, 1.0]))),
    min_size=1,
    max_size=80,
)


def free(**settings: object) -> DecisionSettings:
    return DecisionSettings(**{"max_user_share": 1.0, "min_user_rows": 0, "min_item_rows": 0, **settings})  # type: ignore[arg-type]


def decided(
    noise: np.ndarray, users: np.ndarray, settings: DecisionSettings, spared: np.ndarray | None = None
) -> Decisions:
    """Decide on rows of one item, which is of no account."""
    return decide(noise, users, np.zeros(len(noise), np.int64), settings, spared)


def test_the_published_rule_removes_above_one_half() -> None:
    noise = np.array([0.5, 0.51, np.nan, 0.1])
    decisions = decided(noise, np.zeros(4, np.int64), free())
    assert decisions.keep.tolist() == [True, False, True, True]
    assert decided(noise, np.zeros(4, np.int64), free(threshold=0.05)).keep.tolist() == [False, False, True, False]


def test_a_user_loses_three_in_ten_rows_at_most_the_worst_first() -> None:
    noise = np.array([0.9, 0.8, 0.99, 0.7, 0.6, 0.95, 0.9, 0.8, 0.7, 0.6])
    decisions = decided(noise, np.zeros(10, np.int64), DecisionSettings())
    assert np.flatnonzero(~decisions.keep).tolist() == [0, 2, 5]
    assert decisions.protected.sum() == 7


def test_shares_of_rows_are_whole_numbers_where_they_should_be() -> None:
    # In floats 0.29 * 100 is less than 29.
    noise, one = np.linspace(0.6, 0.9, 100), np.zeros(100, np.int64)
    assert (~decided(noise, one, free(max_user_share=0.29, whole_users=False)).keep).sum() == 29
    assert (~decided(noise, np.arange(100), free(budget="29%")).keep).sum() == 29


def test_bots_lose_rows_of_rare_items_that_score_no_more_than_half() -> None:
    noise = np.r_[np.full(20, 0.55), [0.55, 0.1, 0.1, 0.1]]
    users, items = np.repeat([0, 1], [20, 4]), np.r_[np.repeat(np.arange(10), 2), [10, 11, 11, 10]]
    gone = ~decide(noise, users, items, DecisionSettings()).keep
    assert gone[:20].all(), "also of items with two rows, which ask for 0.67 of others"
    assert not gone[20:].any()


def test_under_a_budget_what_looks_as_bad_as_the_best_that_goes_is_not_protected() -> None:
    noise = np.array([0.9, 0.8, 0.8, 0.85])
    spared = np.array([False, False, True, True])
    decisions = decided(noise, np.arange(4), free(budget="50%"), spared)
    assert decisions.keep.tolist() == [False, False, True, True]
    assert decisions.protected.tolist() == [False, False, False, True]


def test_a_user_who_looks_like_a_bot_goes_whole_unless_that_is_not_wanted() -> None:
    noise = np.r_[np.full(27, 0.7), np.full(3, 0.2), np.full(26, 0.7), np.full(4, 0.2), np.full(19, 0.7)]
    users = np.repeat([0, 1, 2], [30, 30, 19])
    decisions = decided(noise, users, DecisionSettings())
    gone = np.bincount(users[~decisions.keep], minlength=3)
    assert gone.tolist() == [27, 9, 5], "27 of 30 are nearly all, 26 are not, and 19 rows are too few to say"
    limited = decided(noise, users, DecisionSettings(whole_users=False))
    assert np.bincount(users[~limited.keep]).tolist() == [9, 9, 5]
    stricter = decided(noise, users, DecisionSettings(threshold=0.8))
    assert stricter.keep.all(), "the threshold holds for every row"


def test_a_budget_may_take_all_of_a_bot_and_what_is_not_scored_speaks_for_nobody() -> None:
    noise = np.r_[np.full(20, 0.7), np.full(18, 0.7), [np.nan, np.nan, np.nan], np.full(17, 0.1)]
    users = np.repeat([0, 1, 2], [20, 21, 17])
    decisions = decided(noise, users, DecisionSettings(budget="100%", max_user_share=0.0))
    assert np.bincount(users[~decisions.keep], minlength=3).tolist() == [20, 0, 0]


def test_a_user_keeps_three_rows() -> None:
    noise = np.full(4, 0.9)
    decisions = decided(noise, np.zeros(4, np.int64), free(min_user_rows=3))
    assert decisions.keep.tolist() == [False, True, True, True]
    assert decided(np.full(3, 0.9), np.zeros(3, np.int64), free(min_user_rows=3)).keep.all()


def test_an_item_keeps_its_least_suspicious_rows() -> None:
    noise = np.array([0.9, 0.8, 0.7, 0.95, 0.95, 0.95, 0.6, 0.8])
    items = np.array([0, 0, 1, 2, 2, 2, 0, -1])
    users = np.zeros(8, np.int64)
    gone = [~decide(noise, users, items, free(min_item_rows=least)).keep for least in (0, 1, 2, 3)]
    assert gone[0].all()
    assert np.flatnonzero(gone[1]).tolist() == [0, 1, 3, 4, 7], "of equal rows the last stays, as the first go"
    assert np.flatnonzero(gone[2]).tolist() == [0, 3, 7]
    assert np.flatnonzero(gone[3]).tolist() == [7]
    protected = decide(noise, users, items, free(min_item_rows=1)).protected
    assert np.flatnonzero(protected).tolist() == [2, 5, 6]
    budget = decide(noise, users, items, free(min_item_rows=1, budget="50%"))
    assert np.flatnonzero(~budget.keep).tolist() == [0, 1, 3, 4], "a budget goes to other rows"


def test_what_an_item_keeps_anyway_takes_no_place_within_the_limit_of_a_user() -> None:
    # The worst three of ten rows are of items that nobody else has.
    noise = np.array([0.99, 0.98, 0.97, 0.9, 0.8, 0.7, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1])
    users = np.array([0] * 10 + [1] * 2)
    items = np.array([0, 1, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4])
    for asked in ({}, {"budget": "50%"}, {"threshold": 0.65}):
        decisions = decide(noise, users, items, DecisionSettings(**asked))  # type: ignore[arg-type]
        assert np.flatnonzero(~decisions.keep).tolist() == [3, 4, 5]
        assert decisions.protected[:3].all()


def test_a_row_of_a_rare_item_has_to_look_worse() -> None:
    items, users = np.repeat([0, 1, 2, 3], [1, 2, 4, 100]), np.arange(107)
    some = [1, 3, 7]  # of items of 2, 4 and 100 rows

    def gone(scores: list[float], **settings: object) -> list[int]:
        noise = np.zeros(107)
        noise[0], noise[some] = 1, scores
        return np.flatnonzero(~decide(noise, users, items, free(**settings)).keep).tolist()

    # The odds have to be 2, 1.0625 and 1 times those of the threshold; with two rows to keep, 3, 1.125 and 1 times.
    for limits, least, rows in (
        ({"min_item_rows": 1}, [2 / 3, 1.0625 / 2.0625, 1 / 2], some),
        ({"min_item_rows": 1, "threshold": 0.2}, [2 / 6, 1.0625 / 5.0625, 1 / 5], some),
        ({"min_item_rows": 2}, [1, 1.125 / 2.125, 1 / 2], some[1:]),
    ):
        assert gone([score - 1e-6 for score in least], **limits) == []
        assert gone([score + 1e-6 for score in least], **limits) == rows
    assert gone([0.51, 0.51, 0.51], min_item_rows=0) == [0, *some]
    assert gone([0.51, 0.501, 0.5], min_item_rows=1, budget="1%") == [1], "a budget is spent on the highest scores"
    noise = np.where(users == 1, 0.51, 0)
    assert np.flatnonzero(decide(noise, users, items, free(min_item_rows=1)).protected).tolist() == [1]


def test_rows_that_stay_anyway_are_an_items_own() -> None:
    noise = np.array([0.9, np.nan, 0.9, 0.8, 0.7, 0.9])
    items, users = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 0, 0, 1])
    spared = np.array([False, False, True, False, False, False])
    decisions = decide(noise, users, items, free(min_item_rows=1, max_user_share=0.9), spared)
    assert np.flatnonzero(~decisions.keep).tolist() == [0, 3, 4], "the other user may lose no row, which item 2 keeps"


def test_what_only_bots_have_goes_with_them() -> None:
    noise, users = np.full(21, 0.9), np.r_[np.zeros(20, np.int64), 1]
    items = np.r_[np.arange(20), 19]
    decisions = decide(noise, users, items, DecisionSettings(min_user_rows=0, max_user_share=1.0))
    assert np.flatnonzero(decisions.keep).tolist() == [20], "a bot's row is none that the item keeps"


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(-1, 5), st.sampled_from([np.nan, 0.1, 0.6, 0.9]), st.booleans(), st.booleans()),
        max_size=60,
    ),
    least=st.integers(1, 3),
    cut=st.integers(0, 60),
)
def test_the_best_rows_of_items_are_the_same_from_parts_in_any_order(rows: list, least: int, cut: int) -> None:
    items, noise, allowed, bots = (np.array([row[place] for row in rows]) for place in range(4))
    items, noise = items.astype(np.int64), noise.astype(np.float32)
    allowed, bots = allowed.astype(bool) & ~np.isnan(noise), bots.astype(bool)
    found = []
    for order in (np.arange(len(rows)), np.roll(np.arange(len(rows)), cut)):
        best = BestOfItems(least)
        for part in np.array_split(order[~bots[order]], 1 + cut % 4):
            best.add(part, items[part], noise[part], allowed[part])
        found.append(best.rows().tolist())
    assert found[0] == found[1]
    for item in range(6):
        own = np.flatnonzero((items == item) & ~bots)
        kept = np.intersect1d(own, found[0])
        assert len(kept) == min(least, len(own))
        others = np.setdiff1d(own, kept)
        if len(others):
            score = np.where(allowed, noise, -1)
            assert score[kept].max() <= score[others].min()
    assert not set(found[0]) & set(np.flatnonzero(bots | (items < 0)))


def test_rows_without_a_score_count_as_rows_of_the_user() -> None:
    noise = np.array([0.9, np.nan, np.nan, np.nan, np.nan])
    assert not decided(noise, np.zeros(5, np.int64), DecisionSettings()).keep[0]


def test_a_budget_is_a_share_of_all_rows_and_goes_to_the_most_suspicious() -> None:
    noise = np.linspace(0, 0.3, 40)
    noise[7] = np.nan
    users = np.arange(40) % 4
    decisions = decided(noise, users, DecisionSettings(budget="5%"))
    assert np.flatnonzero(~decisions.keep).tolist() == [38, 39]
    assert not decisions.protected.any()
    assert decided(noise, users, DecisionSettings(budget="0")).keep.all()


def test_a_budget_passes_over_protected_rows_and_says_so() -> None:
    noise = np.r_[np.full(10, 0.9), np.linspace(0.1, 0.2, 10)]
    users = np.repeat([0, 1], 10)
    decisions = decided(noise, users, DecisionSettings(budget="20%"))
    assert np.flatnonzero(~decisions.keep).tolist() == [0, 1, 2, 19]
    assert decisions.protected.tolist() == [False] * 3 + [True] * 7 + [False] * 10


def test_a_spared_row_stays_and_the_next_worst_of_its_user_goes() -> None:
    noise = np.array([0.9, 0.99, 0.6, 0.7, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2])
    spared = np.arange(10) == 1
    decisions = decided(noise, np.zeros(10, np.int64), free(max_user_share=0.2), spared)
    assert np.flatnonzero(~decisions.keep).tolist() == [0, 3], "two of ten rows, as the spared one counts among them"
    assert np.flatnonzero(decisions.protected).tolist() == [1, 2]


def test_a_budget_goes_to_the_worst_rows_that_are_not_spared() -> None:
    noise = np.linspace(0, 0.9, 10)
    spared = np.isin(np.arange(10), [2, 8, 9])
    decisions = decided(noise, np.arange(10) % 2, free(budget="20%"), spared)
    assert np.flatnonzero(~decisions.keep).tolist() == [6, 7]
    assert np.flatnonzero(decisions.protected).tolist() == [8, 9], "not 2, which looks better than what went"
    everything = decided(noise, np.arange(10) % 2, free(budget="20%"), np.ones(10, bool))
    assert everything.keep.all()
    assert not everything.protected.any()


@settings(deadline=None)
@given(rows=ROWS, spared=st.sets(st.integers(0, 79)), budget=st.sampled_from([None, "10%", "100%"]))
def test_spared_rows_stay_and_sparing_none_changes_nothing(rows: list, spared: set[int], budget: str | None) -> None:
    users, noise = np.array([user for user, _ in rows]), np.array([score for _, score in rows])
    chosen = np.isin(np.arange(len(rows)), list(spared))
    limits = DecisionSettings(budget=budget, min_user_rows=1)
    decisions = decided(noise, users, limits, chosen)
    assert decisions.keep[chosen].all()
    for user in np.unique(users):
        assert (~decisions.keep[users == user]).sum() <= (users == user).sum() * 0.3 + 1e-9
    without, with_none = decided(noise, users, limits), decided(noise, users, limits, np.zeros(len(rows), bool))
    assert (without.keep == with_none.keep).all()
    assert (without.protected == with_none.protected).all()
    assert (~decisions.keep).sum() <= (~without.keep).sum()


@settings(deadline=None)
@given(
    rows=ROWS, budget=st.sampled_from([None, "0%", "10%", "0.5", "100%"]), share=st.sampled_from([0.0, 0.2, 0.29, 1])
)
def test_protections_hold_whatever_the_scores(rows: list, budget: str | None, share: float) -> None:
    users, noise = np.array([user for user, _ in rows]), np.array([score for _, score in rows])
    decisions = decided(noise, users, DecisionSettings(budget=budget, max_user_share=share))
    assert decisions.keep[np.isnan(noise)].all()
    assert (decisions.keep | ~decisions.protected).all()
    for user in np.unique(users):
        mine = users == user
        gone = (~decisions.keep[mine]).sum()
        assert gone <= mine.sum() * share + 1e-9
        assert gone == 0 or decisions.keep[mine].sum() >= 3
        scores = noise[mine]
        if gone:
            assert np.nanmin(scores[~decisions.keep[mine]]) >= np.nanmax(
                np.r_[-1.0, scores[decisions.keep[mine] & ~np.isnan(scores)]]
            ), "a less suspicious row of the user went first"
    if budget is not None:
        assert (~decisions.keep).sum() <= len(rows) * float(budget.rstrip("%")) / (100 if "%" in budget else 1) + 1e-9


@pytest.mark.parametrize("budget", ["five", "-1%", "150%", "2", ""])
def test_a_budget_that_is_no_share_is_refused(budget: str) -> None:
    with pytest.raises(UsageError, match=f'--budget cannot be "{budget}"') as caught:
        DecisionSettings(budget=budget)
    assert "5% or 0.05" in caught.value.hint


def test_the_noise_score_is_one_minus_p_keep() -> None:
    terms = np.array([[1, 1, 1], [0, 0, 0], [-0.366513, 0, 0], [np.nan] * 3], dtype=np.float32)
    scores = noise_score(terms)
    assert scores[:3] == pytest.approx([np.exp(-np.exp(3)), np.exp(-1), 0.5], abs=1e-6)
    assert np.isnan(scores[3])


def test_reasons_name_the_weakest_agreement_and_why_rows_stayed() -> None:
    terms = (
        np.tile(np.array([0.5, 0.6, 0.7], np.float32), (200, 1)) + np.linspace(0, 0.1, 200, dtype=np.float32)[:, None]
    )
    terms[3] = [0.52, -0.4, 0.72]
    terms[4] = [-0.9, -0.5, 0.7]
    terms[5] = np.nan
    status = np.zeros(200, np.int8)
    status[5] = Status.UNKNOWN_ITEM
    scores = Scores(noise_score(terms), terms, status)
    keep = np.ones(200, bool)
    keep[3] = False
    protected = np.zeros(200, bool)
    protected[4] = True
    decisions = Decisions(keep, protected, 0.5)
    reasons = explain(scores, decisions, np.array([3, 4, 5, 6]))
    assert reasons == [
        "removed: the item's text does not fit the behaviour of the whole history (cosine -0.40, lowest 2% of rows)",
        "protected: behaviour here does not fit the text of the whole history (cosine -0.90, lowest 1% of rows)",
        "unscored: the model does not know the item",
        "kept: agrees with the user's history",
    ]
    against = explain(scores, decisions, np.array([3, 4, 5, 6]), against_kept=True)
    assert against[:3] == reasons[:3]
    assert against[3].startswith("kept; what speaks most against it: behaviour here does not fit"), against[3]

    by, judged = np.full(200, -1, np.int8), np.ones(200, bool)
    by[[4, 6]] = 1
    judged[7] = False
    wishes = Protections(("--protect-last 2", "--protect 'x > 1'"), by, judged)
    wished = explain(scores, Decisions(keep, protected, 0.5, wishes), np.array([3, 4, 5, 6, 7]))
    assert wished[0] == reasons[0]
    assert wished[1] == reasons[1].replace("protected:", "protected by --protect 'x > 1':")
    assert wished[2:4] == reasons[2:], "a row that looks well is kept for that, protected or not"
    assert wished[4] == "kept: not judged, as its event is not among --events"
    judged_only = explain(scores, Decisions(keep, protected, 0.5, wishes), np.array([7]), against_kept=True)
    assert judged_only == wished[4:], "what was not judged is not spoken against"
    taken = Decisions(keep, protected, 0.5, wishes).take(np.array([7, 4]))
    assert explain(scores.take(np.array([7, 4])), taken, np.array([0, 1]))[1].startswith("protected by --protect 'x")


def crossfit_scores(moved: dict[int, dict[str, float]], rows: int = 200) -> Scores:
    """Return scores of rows that evidence moved so far towards noise; that of all others it moved away from it."""
    parts = np.full((rows, len(NAMES)), -0.1, np.float32)
    parts[:, [family(name) not in SAID for name in NAMES]] = 0
    for row, pieces in moved.items():
        parts[row] = 0
        for name, value in pieces.items():
            parts[row, NAMES.index(name)] = value
    terms = np.tile(np.linspace(1, 0, rows, dtype=np.float32)[:, None], (1, len(NAMES)))
    return Scores(np.full(rows, 0.1, np.float32), terms, np.zeros(rows, np.int8), parts, {})


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        pytest.param(
            {"together: share": 1.6, "text: nearest": 0.4, "text: far": 0.4, "words: mean": 0.7},
            "hardly ever had by one user together with this user's other items (lowest 1% of rows); "
            "unlike this user's other items in text (lowest 1% of rows)",
            id="of what says nearly the same the one that moved it most",
        ),
        pytest.param(
            {"history: taste": 4, "text: mean": 0.3},
            "this user's items have no more to do with each other than random ones (lowest 1% of rows)",
            id="what hardly moved the score beside the first is no reason",
        ),
        pytest.param(
            {"words and around: rest": 1, "words and around: far": 1, "taste 32: rest": 0.9},
            "not what users have close to this user's other items (lowest 1% of rows); "
            "shares hardly any words with this user's other items (lowest 1% of rows)",
            id="joint evidence is half of each",
        ),
        pytest.param(
            {"text and taste: rest": 2, "taste 32: rest": 0.1, "text: mean": -0.1},
            "not what users with this user's other items have (lowest 1% of rows)",
            id="joint evidence is of the side that speaks against the row itself",
        ),
        pytest.param(
            {"text and taste: rest": -2, "taste 32: rest": 0.1, "text: mean": -0.1, "when: mean": 0.05},
            "not what users with this user's other items have (lowest 1% of rows); "
            "had by others earlier or later than this user's items around it (lowest 1% of rows)",
            id="and what speaks for it of the other",
        ),
        pytest.param(
            {"text: mean": 1, "text alone: taste 32 and text": 0.9, "words: mean": 0.1, "when: mean": 0.3},
            "unlike this user's other items in text (lowest 1% of rows); "
            "had by others earlier or later than this user's items around it (lowest 1% of rows)",
            id="never unlike in text and near in text",
        ),
        pytest.param(
            {"text: mean": 0.9, "text alone: taste 32 and text": 1, "words: mean": -0.1, "when: mean": 0.3},
            "near this user's items in text, not in who has them (lowest 1% of rows); "
            "had by others earlier or later than this user's items around it (lowest 1% of rows)",
            id="nor the other way round",
        ),
        pytest.param({}, "nothing speaks against it more than against other rows", id="nothing"),
    ],
)
def test_reasons_of_crossfit_name_what_moved_the_score_most_and_nothing_twice(
    moved: dict[str, float], said: str
) -> None:
    keep = np.arange(200) > 0
    first, second = explain(crossfit_scores({0: moved}), Decisions(keep, ~keep & False, 0.5), np.arange(2))
    assert first == f"removed: {said}", "ranks are of what moved the score, not of a piece that stands for it"
    assert second == "kept: agrees with the user's history"


@pytest.mark.parametrize(("others", "rank"), [(1, " (lowest 1% of rows)"), (49, " (lowest 25% of rows)"), (50, "")])
def test_a_rank_is_told_where_it_speaks_for_the_reason(others: int, rank: str) -> None:
    scores = crossfit_scores({row: {"text: mean": 0.5 if row else 0.4} for row in range(others + 1)})
    keep = np.arange(200) > 0
    assert explain(scores, Decisions(keep, ~keep & False, None), np.arange(1)) == [
        f"removed: unlike this user's other items in text{rank}"
    ]


@pytest.mark.parametrize(("cutoff", "by"), [(None, "--budget"), (0.95, "--threshold 0.95")])
def test_a_row_that_is_more_likely_noise_than_not_and_stays_says_why(cutoff: float | None, by: str) -> None:
    scores = crossfit_scores({row: {"text: mean": 1} for row in range(4)})
    scores.noise[:5] = [0.99, 0.9, 0.5, 0.9, 0.9]
    keep, protected = np.arange(200) > 0, np.arange(200) == 3
    spared = Decisions(keep, protected, cutoff)
    said = "unlike this user's other items in text (lowest 2% of rows)"
    expected = [
        f"removed: {said}",
        f"kept by {by}: {said}",
        "kept: agrees with the user's history",
        f"protected: {said}",
        f"kept by {by}: nothing speaks against it more than against other rows",
    ]
    assert explain(scores, spared, np.arange(5)) == expected
    assert explain(scores, spared, np.array([1]), against_kept=True) == expected[1:2]
    judged = Protections((), np.full(200, -1, np.int8), np.arange(200) != 1)
    unjudged = Decisions(keep, protected, cutoff, judged)
    assert explain(scores, unjudged, np.array([1])) == ["kept: not judged, as its event is not among --events"]
