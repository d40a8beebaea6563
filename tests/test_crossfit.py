"""The default detector: evidence against an oracle in plain loops, the head, the share, and that no row vouches for
itself."""

import itertools
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from histories import make
from hypothesis import given, settings
from hypothesis import strategies as st
from learning import learning_little
from scipy import sparse
from sklearn.metrics import roc_auc_score

from iadsr_cli import noise
from iadsr_cli.crossfit import Judge, Known, head
from iadsr_cli.crossfit import judge as judge_module
from iadsr_cli.crossfit import lessons as lessons_module
from iadsr_cli.crossfit.chance import MOST, Chance
from iadsr_cli.crossfit.evidence import FAMILIES, NAMES, SAID, beyond, family, gather
from iadsr_cli.crossfit.kinds import KINDS, Kind, Sort
from iadsr_cli.crossfit.lessons import Lesson, lessons
from iadsr_cli.crossfit.predictor import Pieces, Predictor, predict
from iadsr_cli.crossfit.shares import estimate
from iadsr_cli.crossfit.spaces import Fold, learn
from iadsr_cli.crossfit.texts import TextFeatures
from iadsr_cli.errors import InputError
from iadsr_cli.explanations import whys
from iadsr_cli.order import times
from iadsr_cli.progress import Silent
from iadsr_cli.scores import Scores, Status
from iadsr_cli.sequences import Sequences, user_items, window_items

ROUNDS = head._ROUNDS


@pytest.fixture(autouse=True)
def learning_less() -> Iterator[None]:
    """Enough for logs like these, and faster."""
    with learning_little(rounds=40, folds=5, kinds=KINDS):
        yield


def genres(users: int = 400, items: int = 120, seed: int = 0) -> tuple[Sequences, np.ndarray, list[str | None]]:
    """Users who each keep to one of six genres; vectors and titles tell the genre of an item."""
    generator = np.random.default_rng(seed)
    genre = np.arange(items) % 6
    histories = []
    for _ in range(users):
        own = np.flatnonzero(genre == generator.integers(6))
        histories.append((generator.choice(own, generator.integers(6, 12), replace=False) + 1).tolist())
    centres = generator.normal(size=(6, 16))
    vectors = centres[genre] + 0.8 * generator.normal(size=(items, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    titles: list[str | None] = [f"genre{genre[item]} item{item}" for item in range(items)]
    return make(histories, items), np.vstack([np.zeros(16), vectors]).astype(np.float32), titles


@pytest.fixture
def few_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inject noise three times at most: a small log is otherwise read ten times over."""
    monkeypatch.setattr(lessons_module, "_LESSONS", (3, 3))


@pytest.fixture
def few_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for bots among 300 long histories already."""
    monkeypatch.setattr(lessons_module, "_LEAST_LONG", 300)


def having(histories: list[list[int]], items: int) -> sparse.csr_array:
    """Who has what."""
    return held_by(make(histories, items))


def held_by(sequences: Sequences) -> sparse.csr_array:
    return user_items(sequences, np.ones(len(sequences.codes), dtype=bool))


def taught_by(others: Sequences) -> tuple[sparse.csr_array, sparse.csr_array]:
    return held_by(others)[others.lengths > 0], window_items(others, 5)[0]


def coherence(history: list[int], space: np.ndarray, users: np.ndarray) -> float:
    """What is said of a whole history in one space, pair by pair."""
    known = [item for item in range(len(space)) if not np.isnan(space[item][0])]
    level = {item: int(users[item]).bit_length() for item in known}
    of_level = {number: [item for item in known if level[item] == number] for number in level.values()}
    left = {item: space[item] - space[of_level[level[item]]].astype(np.float64).mean(axis=0) for item in known}
    had = sorted({code - 1 for code in history} & set(known))
    if len(had) < 20 or len(had) > len(known) / 2:
        return 50
    total = variance = 0.0
    for place, one in enumerate(had):
        for other in had[:place]:
            both = of_level[level[one]], of_level[level[other]]
            total += left[one] @ left[other]
            if both[0] is both[1]:
                total -= np.mean([left[a] @ left[b] for a in both[0] for b in both[0] if a != b])
            variance += np.mean([(left[a] @ left[b]) ** 2 for a in both[0] for b in both[1]])
    return min(total / variance**0.5, 50)


def oracle(history: list[int], spaces: dict, fold: Fold, reach: int) -> dict[str, list[float]]:
    """What `gather` should say of one user's rows, pair by pair."""
    found: dict[str, list[float]] = {name: [] for name in NAMES}

    def tie(one: int, other: int) -> float:
        product = fold.users[one - 1] * fold.users[other - 1]
        return np.nan if one == other or not product else fold.together[one - 1, other - 1] / np.sqrt(product)

    def likelier(one: int, other: int) -> float:
        by = fold.predictor
        assert by is not None
        return float(by.asked[one - 1] @ by.given[other - 1] - by.level[other - 1])

    def nanmean(values: list[float], weights: list[float] | None = None) -> float:
        pairs = [(v, w) for v, w in zip(values, weights or [1.0] * len(values), strict=True) if not np.isnan(v) and w]
        return sum(v * w for v, w in pairs) / sum(w for _, w in pairs) if pairs else np.nan

    joint = {f"{one}{other}" for one in ("", "words and ", "text and ") for other in ("taste", "around")} - {"taste"}
    measured = joint | {"taste 16", "taste 32", "text", "words", "together", "expected", "when", "order"}
    pairwise = {"together": tie, "expected": likelier}

    def later(place: int, other: int) -> float:
        """How much later the item at one place of the history is had than that at another."""
        return float(fold.times[history[place] - 1] - fold.times[history[other] - 1])

    placed = {
        "when": lambda place, other: -abs(later(place, other)),
        "order": lambda place, other: later(place, other) if place > other else later(other, place),
    }
    for place, code in enumerate(history):
        everywhere = [other for other in range(len(history)) if other != place]
        others = [other for other in everywhere if abs(place - other) <= reach]
        for name in measured:
            if name in placed:
                similar = placed[name]
            else:
                of_items = pairwise.get(name) or (lambda a, b, s=spaces[name]: float(s[a - 1] @ s[b - 1]))
                similar = lambda a, b, of=of_items: of(history[a], history[b])  # noqa: E731
            values = [similar(place, other) for other in others]
            distance = [abs(place - other) for other in others]
            pairs = [(a, b) for a in everywhere for b in everywhere if a != b and abs(a - b) <= reach]
            far = nanmean([v for v, d in zip(values, distance, strict=True) if d >= 5])
            mean = nanmean(values)
            among = nanmean([similar(a, b) for a, b in pairs])
            known = [v for v in values if not np.isnan(v)]
            measures = {
                "mean": mean,
                "nearest": max(known) if known else np.nan,
                "beside": nanmean([v for v, d in zip(values, distance, strict=True) if d == 1]),
                "nearby": nanmean(values, [0.7**d for d in distance]),
                "far": mean if np.isnan(far) else far,
                "against history": mean - among,
                "likely": np.log(np.mean(np.exp(known))) if known else np.nan,
                "share": nanmean([np.nan if np.isnan(v) else float(v > 0) for v in values]),
            }
            for measure, value in measures.items():
                if f"{name}: {measure}" in found:
                    found[f"{name}: {measure}"].append(value)
        for name in joint | {"taste 16", "taste 32", "taste 64"}:
            rows = [spaces[name][history[other] - 1] for other in everywhere]
            rest = np.sum([row for row in rows if not np.isnan(row[0])], axis=0)
            own = spaces[name][code - 1]
            found[f"{name}: rest"].append(
                np.nan if np.isnan(own[0]) or np.ndim(rest) == 0 else float(own @ rest / np.linalg.norm(rest))
            )
        found["repeats: count"].append(np.log1p(sum(history[other] == code for other in others)))
        found["history: items"].append(min(0.0, np.log(20 / len(set(history)))))
    for name in joint | {"taste"}:
        found[f"history: {name}"] = [coherence(history, spaces["taste 32" if name == "taste" else name], fold.users)]
        found[f"history: {name}"] *= len(history)
    for name in NAMES:
        kind, _, of = name.partition(": ")
        if kind == "apart":
            one, other = f"{of}: far", f"{of}: beside"
        elif kind == "text alone":
            one, other = (f"{space}: nearest" for space in of.rsplit(" and ", 1))
        else:
            continue
        found[name] = np.subtract(found[one], found[other]).tolist()
    return found


# A history of more than twice the reach is compared piece by piece.
@pytest.mark.parametrize("reach", [100, 5])
def test_evidence_is_what_an_oracle_in_loops_says(reach: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iadsr_cli.crossfit.evidence._REACH", reach)
    monkeypatch.setattr("iadsr_cli.crossfit.evidence._PAIRS_AT_ONCE", 10 * reach)
    generator = np.random.default_rng(3)
    histories = [generator.integers(1, 31, size=size).tolist() for size in (1, 2, 3, 7, 12, 14, 25)]
    histories.append((generator.permutation(60)[:24] + 1).tolist())
    sequences = make(histories, 60)
    unknown = {"text": [4], "words": [5], "taste": [6], "around": [7]}
    sizes = {"taste 16": 16, "taste 32": 32, "taste 64": 64, "words and taste": 9, "text and taste": 7, "around": 8}
    sizes |= {"words and around": 6, "text and around": 5}
    spaces = {}
    for name, size in sizes.items():
        space = generator.normal(size=(60, size))
        space /= np.linalg.norm(space, axis=1, keepdims=True)
        space[unknown.get(name.split()[0], [])] = np.nan
        spaces[name] = space.astype(np.float32)
    texts = TextFeatures.of(
        np.nan_to_num(spaces["text and taste"][:, ::-1]), [None if i == 5 else f"w{i % 4} w{i}" for i in range(60)]
    )
    others = make([generator.integers(1, 61, size=8).tolist() for _ in range(30)], 60)
    learned = learn(*taught_by(others), texts, 0)
    given, asked = (generator.normal(size=(60, 6)).astype(np.float32) for _ in range(2))
    given[8] = asked[8] = np.nan
    predictor = Predictor(given, asked, generator.normal(size=60).astype(np.float32))
    when = generator.random(60).astype(np.float32)
    when[9] = np.nan
    fold = Fold(learned.users, learned.together, spaces, when, predictor)
    out = np.full((len(sequences.codes), len(NAMES)), np.nan, np.float32)
    gather(sequences, np.arange(len(histories)), fold, texts, out)
    dense = texts.words.toarray()
    dense[~dense.any(axis=1)] = np.nan
    vectors = np.where(texts.vectors.any(axis=1, keepdims=True), texts.vectors, np.nan)
    named = {**spaces, "words": dense, "text": vectors}
    assert np.isnan(out[0]).all(), "a history of one has nothing to compare with"
    for user, history in enumerate(histories[1:], start=1):
        wanted = oracle(history, named, fold, reach)
        rows = slice(sequences.offsets[user], sequences.offsets[user + 1])
        for column, name in enumerate(NAMES):
            np.testing.assert_allclose(out[rows, column], wanted[name], atol=2e-5, err_msg=f"{name}, user {user}")


def test_sums_in_another_order_change_hardly_any_evidence() -> None:
    # As with another number of threads.
    sequences, vectors, titles = genres(100)
    everyone = np.ones(len(sequences.lengths), dtype=bool)
    fold = learn(*taught_by(sequences), TextFeatures.of(vectors[1:], titles), 0, times(sequences, everyone))
    found = []
    for order in (slice(None), slice(None, None, -1)):
        ordered = Fold(
            fold.users, fold.together, {name: space[:, order] for name, space in fold.spaces.items()}, fold.times
        )
        out = np.full((len(sequences.codes), len(NAMES)), np.nan, np.float32)
        gather(sequences, np.arange(100), ordered, TextFeatures.of(vectors[1:, order], titles), out)
        found.append(np.nan_to_num(out))
    assert (found[0] != found[1]).mean() < 0.01


def test_every_piece_of_evidence_has_a_family_and_every_family_a_piece() -> None:
    assert {family(name) for name in NAMES} == set(FAMILIES)
    assert set(SAID) <= {family(name) for name in NAMES}


def test_what_is_left_out_is_in_no_difference_either() -> None:
    assert beyond(FAMILIES) == []
    gone = {NAMES[column] for column in beyond([name for name in FAMILIES if name != "words"])}
    assert {"words: mean", "apart: words", "text alone: around and words"} <= gone
    assert gone.isdisjoint({"text: mean", "apart: text", "text alone: around and text"})


def test_a_long_history_is_compared_within_reach_only() -> None:
    sequences = make([list(range(1, 301))], 300)
    vectors = np.zeros((300, 4), np.float32)
    vectors[:, 0] = 1
    vectors[0] = (0, 1, 0, 0)
    texts = TextFeatures.of(vectors, [None] * 300)
    out = np.full((300, len(NAMES)), np.nan, np.float32)
    gather(sequences, np.array([0]), learn(*taught_by(make([[1, 2], [2, 3]], 300)), texts, 0), texts, out)
    mean = out[:, NAMES.index("text: mean")]
    assert mean[0] == 0
    assert (mean[1:101] < 1).all()
    assert mean[150] == pytest.approx(1), "the first row is out of its reach"


def test_items_are_counted_together_where_anyone_has_them() -> None:
    held = sparse.csr_array(np.array([[1, 1, 0, 1], [1, 1, 0, 0]], np.float32))
    pairs = np.array([(one, other) for one in range(4) for other in range(4)]).T
    for some in (held, held[:0]):
        together = (some.T @ some).tocsr()
        together.sort_indices()
        found = Fold(np.asarray(some.sum(axis=0)), together, {}).having_both(*pairs)
        assert found.tolist() == together.toarray().ravel().tolist()


def test_pairs_are_counted_in_some_of_the_items_of_who_has_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iadsr_cli.crossfit.spaces._MOST_TOGETHER", 6)
    texts = TextFeatures.of(np.zeros((40, 2), np.float32), [None] * 40)
    everything = list(range(1, 41))
    fold = learn(*taught_by(make([[1, 2, 3], everything, everything[::-1], [2, 3, 3]], 40)), texts, 0)
    by_many = fold.together.toarray()[3:, 3:]
    assert by_many.diagonal().sum() <= 2 * 6
    assert fold.together.sum() == 3**2 + 2**2 + 2 * 6**2
    assert fold.together[1, 2] >= 2, "those of others count all"
    assert fold.users.tolist() == fold.together.diagonal().tolist()
    assert by_many.diagonal()[3:].sum() > 0, "not always the same ones"
    assert not np.isnan(fold.spaces["around"]).any(), "vectors are made of all"


def random_users(seed: int = 4) -> Sequences:
    """Users without any taste, who have popular items more often than others."""
    generator = np.random.default_rng(seed)
    popular = 1 / np.arange(1, 121)
    return make([generator.choice(120, size=14, replace=False, p=popular / popular.sum()) + 1 for _ in range(400)], 120)


@pytest.mark.usefixtures("few_rounds")
def test_of_a_log_whose_users_are_random_nothing_is_taken_for_noise() -> None:
    judge = Judge(Known.of(random_users(), np.zeros((121, 2), np.float32), [None] * 120), 0, Silent())
    scores = judge.scores()
    assert judge.shares == scores.shares == {}
    assert scores.share is None
    assert np.nanmax(scores.noise) < 0.5

    ordered, vectors, titles = genres()
    noisy = noise.inject(ordered, "insert-uniform", 0.3, 1).sequences
    assert Judge(Known.of(noisy, vectors, titles), 0, Silent()).scores().share > 0.05


@pytest.mark.usefixtures("few_lessons")
def test_items_that_nobody_else_has_do_not_make_a_log_of_random_users_fit() -> None:
    # A third of the rows; what is injected comes from others, who have it still.
    generator = np.random.default_rng(1)
    held, codes = np.unique(generator.integers(0, 5_000, size=(500, 10)), return_inverse=True)
    log = make((codes + 1).tolist(), len(held))
    judge = Judge(Known.of(log, np.zeros((len(held) + 1, 2), np.float32), [None] * len(held)), 0, Silent())
    scores = judge.scores()
    assert 0.3 < (np.bincount(codes.ravel()) == 1).sum() / codes.size < 0.45
    assert judge.shares == {}
    # Where nothing can be told, no kind is believed to be there, the doubtful ones neither.
    assert np.nanmax(scores.noise) < 0.1


def test_one_very_long_history_leaves_room_for_others_to_learn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences, *_ = genres()
    longest = np.flatnonzero(sequences.lengths == sequences.lengths.max())
    monkeypatch.setattr(lessons_module, "_TAUGHT_ROWS", 10 * (int(sequences.lengths.max()) - 1))
    monkeypatch.setattr(lessons_module, "_LESSONS", (20, 20))
    for lesson in lessons(sequences, KINDS, np.zeros(len(sequences.lengths), int), None, None, [0]):
        assert (lesson.sequences.lengths > 0).sum() >= 8
        assert not lesson.sequences.lengths[longest].any()


def test_of_one_long_history_and_pairs_the_long_one_is_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons_module, "_TAUGHT_ROWS", 300)
    sequences = make([list(range(1, 41)), *([item, item + 1] for item in range(1, 90))], 100)
    for lesson in lessons(sequences, KINDS, np.zeros(90, int), None, None, [0]):
        assert lesson.sequences.lengths[0] > 40
        assert set(lesson.sequences.user_index[lesson.injected]) == {0}


@pytest.mark.usefixtures("few_lessons", "few_long")
def test_nothing_is_learned_from_items_that_nobody_has() -> None:
    sequences, vectors, titles = with_incoherent(400, 40, 60)
    had = sequences.counts() > 0
    # Those of targets, or of rows without a user: here every third one.
    gone = np.arange(len(had)) % 3 == 1
    sequences = sequences.where(~gone[sequences.codes])
    neighbours = Known.of(sequences, vectors, titles).neighbours
    assert neighbours is not None
    when = times(sequences, np.ones(len(sequences.lengths), dtype=bool))
    found = lessons(sequences, KINDS, np.zeros(len(sequences.lengths), int), neighbours, when, [0])
    for number, kind in enumerate(KINDS):
        items = np.concatenate([lesson.sequences.codes[lesson.kind == number] for lesson in found])
        assert len(items), kind
        assert not gone[items].any(), kind


def test_every_lesson_is_of_other_users_and_of_few_whole_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons_module, "_TAUGHT_ROWS", 2_000)
    monkeypatch.setattr(lessons_module, "_LESSONS", (3, 3))
    monkeypatch.setattr(lessons_module, "_LEAST_LONG", 10)
    monkeypatch.setattr(lessons_module, "_MOST_REPLACED", 0.02)
    sequences, *_ = with_incoherent(30, 20, 25)
    found = lessons(sequences, KINDS, np.zeros(len(sequences.lengths), int), None, None, [0])
    users = [tuple(np.flatnonzero(lesson.sequences.lengths)) for lesson in found]
    assert len(set(users)) == len(users) > 2
    for lesson in found:
        whole = lesson.kind == list(KINDS).index("replace-history")
        long = np.isin(lesson.sequences.user_index, np.flatnonzero(lesson.sequences.lengths >= 20))
        assert 0 < whole.sum() <= 0.02 * long.sum() + 60, "so that most of the long ones are left"


def test_new_bursts_come_from_users_who_do_not_teach_what_judges_them() -> None:
    sequences, *_ = genres()
    of_user = np.arange(len(sequences.lengths)) % 5
    lesson = lessons(sequences, KINDS, of_user, None, None, [0])[0]
    pairs = [
        {pair for user in np.flatnonzero(of_user == fold) for pair in itertools.pairwise(by_user[user])}
        for by_user in [np.split(sequences.codes, sequences.offsets[1:-1])]
        for fold in range(5)
    ]

    def within(kind: str) -> float:
        """The share of a kind's pairs of rows that stand in a history of the same fold."""
        rows = np.flatnonzero(lesson.kind == list(KINDS).index(kind))
        rows = rows[:-1][np.diff(rows) == 1]
        codes, owner = lesson.sequences.codes, lesson.sequences.user_index
        return float(np.mean([(codes[row], codes[row + 1]) in pairs[of_user[owner[row]]] for row in rows]))

    assert within("insert-new-burst") > 0.75
    assert within("insert-burst") < 0.5


@pytest.mark.usefixtures("few_lessons")
def test_noise_of_its_time_is_learned_from_where_the_log_tells_times() -> None:
    generator = np.random.default_rng(0)
    starts = generator.integers(1, 402, 1_000)
    log = make([(start + np.sort(generator.permutation(200)[:8])).tolist() for start in starts], 600)
    fold, when = np.arange(1_000) % 5, times(log, np.ones(1_000, dtype=bool))

    def away(given: Sequence[Lesson], kind: str) -> float:
        """The median distance of a kind's items from the middle of what the user has."""
        number = list(KINDS).index(kind)
        found = [
            np.abs(one.sequences.codes - starts[one.sequences.user_index] - 100)[one.kind == number] for one in given
        ]
        return float(np.median(np.concatenate(found)))

    timed, timeless = (lessons(log, KINDS, fold, None, known, [0]) for known in (when, None))
    assert away(timed, "insert-timely") < 80
    for kind in ("insert-uniform", "insert-popular", "insert-account"):
        assert away(timed, kind) > 100, kind
    for kind in ("insert-burst", "insert-new-burst"):
        # In every other lesson.
        assert away(timed[::2], kind) < 80 and away(timed[1::2], kind) > 100, kind
        assert away(timeless[::2], kind) > 100, kind
    assert all((lesson.kind != list(KINDS).index("insert-timely")).all() for lesson in timeless)


def test_noise_that_is_in_order_is_seen() -> None:
    # Dates that are those of items: nothing ever stands out of place, noise neither.
    sequences, vectors, titles = genres()
    noisy = noise.inject(sequences, "insert-uniform", 0.1, 5, hold_out=0)
    order = np.lexsort((noisy.sequences.codes * 37 % 121, noisy.sequences.user_index))
    log, is_noise = replace(noisy.sequences, codes=noisy.sequences.codes[order]), noisy.is_noise[order]
    without = {name: kind for name, kind in KINDS.items() if name != "insert-timely"}
    found, blind = (
        Judge(Known.of(log, vectors, titles), 0, Silent(), kinds=kinds).scores() for kinds in (KINDS, without)
    )
    assert blind.share < 0.005, "by noise of any time"
    assert 0.01 < found.share < 0.1 and (found.shares or {})["insert-timely"] > 0.01
    assert roc_auc_score(is_noise, found.noise) > 0.93


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize(("in_time", "sessions"), [(False, 1), (True, 1), (False, 4)])
def test_users_are_judged_by_other_users_alone(in_time: bool, sessions: int) -> None:
    sequences, vectors, titles = genres()
    sequences = replace(sequences, owners=np.arange(len(sequences.lengths)) // sessions)
    if in_time:
        order = np.lexsort((sequences.codes, sequences.user_index))
        sequences = replace(sequences, codes=sequences.codes[order])
    before = Judge(Known.of(sequences, vectors, titles), 0, Silent()).scores()
    judge = Judge(Known.of(sequences, vectors, titles), 0, Silent())
    user = 7
    inside = judge._fold == judge._fold[user]
    for part in (judge._fold, judge._side):
        assert (part == part[sequences.people * sessions]).all(), "all sessions of a person are on one side"
        assert len(np.unique(part)) > 1
    assert (judge._times(~inside) is not None) == in_time
    predictor = predict(sequences.codes, Pieces.of(sequences).of_users(~inside), judge._known.features, 0)
    others = taught_by(sequences.where(~inside[sequences.user_index]))
    fold = learn(*others, judge._known.texts, 0, judge._times(~inside), predictor)
    alone = np.full((len(sequences.codes), len(NAMES)), np.nan, np.float32)
    gather(sequences, np.array([user]), fold, judge._known.texts, alone)
    own = sequences.user_index == user
    np.testing.assert_allclose(before.terms[own], alone[own], atol=1e-5)


@pytest.mark.parametrize("kind", ["insert-uniform", "insert-popular", "insert-burst", "replace-uniform"])
def test_noise_is_found(kind: str) -> None:
    sequences, vectors, titles = genres()
    noisy = noise.inject(sequences, kind, 0.1, 5)
    found = Judge(Known.of(noisy.sequences, vectors, titles), 0, Silent()).scores()
    assert roc_auc_score(noisy.is_noise, found.noise) > 0.9
    assert (found.status == Status.SCORED).all()


@pytest.mark.parametrize("kind", ["insert-uniform", "insert-popular"])
def test_items_that_nobody_else_has_are_judged_as_surely_as_by_text_alone(kind: str) -> None:
    # Noise in a log of which few users are seen: they have most items alone, noise or not, as what is injected into
    # the few never would be if it came from all of them.
    everyone, vectors, titles = genres(2_000, 2_400)
    noisy = noise.inject(everyone, kind, 0.15, 5)
    some = (np.arange(2_000) < 100)[noisy.sequences.user_index]
    sequences = noisy.sequences.where(some)
    is_noise = noisy.is_noise[some]
    alone = sequences.counts()[sequences.codes] == 1
    assert 0.5 < alone.mean() < 0.8
    found = Judge(Known.of(sequences, vectors, titles), 0, Silent()).scores().noise
    by_text = Judge(Known.of(sequences, vectors, titles), 0, Silent(), families=("text", "words")).scores().noise
    assert roc_auc_score(is_noise, found) > roc_auc_score(is_noise, by_text) - 0.02


def with_incoherent(long: int, shortest: int, longest: int) -> tuple[Sequences, np.ndarray, list[str | None]]:
    """Add to 400 short histories `long` ones of a genre each, and 40 of random items, of `shortest` to `longest`."""
    generator = np.random.default_rng(0)
    sequences, vectors, titles = genres(400, 600)
    genre = np.arange(600) % 6
    coherent = [
        generator.choice(np.flatnonzero(genre == user % 6), generator.integers(20, 60), replace=False) + 1
        for user in range(long)
    ]
    others = [generator.choice(600, generator.integers(shortest, longest), replace=False) + 1 for _ in range(40)]
    short = np.split(sequences.codes, sequences.offsets[1:-1])
    return make([codes.tolist() for codes in [*short, *coherent, *others]], 600), vectors, titles


def said_of_incoherent(shortest: int, longest: int) -> tuple[Scores, np.ndarray, dict[str, float]]:
    """What is said of such a log with nine coherent long histories for each incoherent one, whose rows are bool [N]."""
    everyone, vectors, titles = with_incoherent(360, shortest, longest)
    judge = Judge(Known.of(everyone, vectors, titles), 0, Silent())
    return judge.scores(), everyone.user_index >= 760, judge.shares


@pytest.mark.usefixtures("few_lessons", "few_long")
def test_bots_are_found_whole_and_by_their_histories() -> None:
    found, of_bots, shares = said_of_incoherent(20, 60)
    assert ((found.noise > 0.5) == of_bots).mean() > 0.99
    assert (found.noise[~of_bots] < 0.5).all()
    assert shares["replace-history"] == pytest.approx(of_bots.mean(), abs=0.02)
    families = [list(SAID)[place] for place in whys(found, np.flatnonzero(of_bots)).said[:, 0]]
    assert families.count("history") > 0.9 * len(families)


@pytest.mark.usefixtures("few_lessons", "few_long", "few_rounds")
def test_the_share_of_whole_histories_is_one_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    everyone, vectors, titles = with_incoherent(360, 20, 60)
    monkeypatch.setattr(
        judge_module, "estimate", lambda *arguments: np.array([0.25 * kind.whole for kind in arguments[4]])
    )
    judge = Judge(Known.of(everyone, vectors, titles), 0, Silent())
    judge.scores()
    of_long = (everyone.lengths >= 20)[everyone.user_index].mean()
    assert 0.5 < of_long < 0.9
    assert judge.shares["replace-history"] == pytest.approx(0.25 * of_long, rel=0.05), "bots are about as long"


@pytest.mark.usefixtures("few_lessons", "few_long")
def test_bots_may_be_longer_than_everyone_else() -> None:
    found, of_bots, shares = said_of_incoherent(80, 120)
    assert (found.noise[of_bots] > 0.5).mean() > 0.9
    assert (found.noise[~of_bots] < 0.5).all()
    # A tenth of the long histories, less a standard error, of twice as many rows as the others.
    assert of_bots.mean() > 0.18
    assert 0.75 * of_bots.mean() < shares["replace-history"] < of_bots.mean()


@pytest.mark.usefixtures("few_lessons", "few_long")
def test_one_bot_of_very_many_items_is_found() -> None:
    everyone, vectors, titles = with_incoherent(360, 20, 60)
    histories = [codes.tolist() for codes in np.split(everyone.codes, everyone.offsets[1:-1])][:760]
    histories.append((np.random.default_rng(3).permutation(600)[:290] + 1).tolist())
    found = Judge(Known.of(make(histories, 600), vectors, titles), 0, Silent()).scores()
    of_bot = np.arange(len(found.noise)) >= len(found.noise) - 290
    assert (found.noise[of_bot] > 0.5).mean() > 0.9
    assert (found.noise[~of_bot] < 0.5).all()


@pytest.mark.usefixtures("few_lessons", "few_long")
def test_who_has_seen_nearly_everything_is_no_bot() -> None:
    # The longest histories of this log are of all genres, and of a few items more of one.
    everyone, vectors, titles = with_incoherent(330, 80, 81)
    generator = np.random.default_rng(2)
    histories = [codes.tolist() for codes in np.split(everyone.codes, everyone.offsets[1:-1])]
    for user in range(730, 770):
        own = generator.permutation(np.arange(user % 6, 600, 6))[:45]
        others = generator.permutation(np.setdiff1d(np.arange(600), own))[:150]
        histories[user] = (generator.permutation(np.r_[own, others]) + 1).tolist()
    found = Judge(Known.of(make(histories, 600), vectors, titles), 0, Silent()).scores()
    assert (found.noise > 0.5).mean() < 0.01


def by_popularity(items: int, seed: int) -> tuple[Chance, np.ndarray]:
    """A space in which frequent items are near each other, and how many users have each item."""
    generator = np.random.default_rng(seed)
    users = np.ceil(300 * np.arange(1, items + 1) ** -0.8)
    vectors = generator.normal(size=(items, 12)) / 12**0.5
    vectors[:, 0] += np.log2(users) / 4
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Chance.of(vectors.astype(np.float32), users), users


@pytest.mark.parametrize("length", [20, 60, 250])
@pytest.mark.parametrize("popular", [False, True])
def test_items_drawn_at_random_have_what_chance_gives_however_many_and_by_whomever(length: int, popular: bool) -> None:
    chance, users = by_popularity(3_000, 0)
    generator = np.random.default_rng(1)
    drawn = users / users.sum() if popular else None
    histories = [(generator.choice(3_000, length, replace=False, p=drawn) + 1).tolist() for _ in range(400)]
    found = chance.coherence(having(histories, 3_000))
    assert abs(found.mean()) < 0.15
    assert found.std() == pytest.approx(1, abs=0.2)
    assert np.quantile(found, 0.99) < 4


def test_a_history_that_keeps_to_little_is_further_from_chance_the_longer_it_is() -> None:
    chance, _ = by_popularity(3_000, 0)
    near = np.argsort(-chance.vectors[:, 1])
    generator = np.random.default_rng(1)
    # A third of each is of what is near, the rest of anything.
    histories = [
        np.unique(np.r_[near[: size // 3], generator.choice(3_000, size - size // 3)] + 1) for size in (60, 120, 240)
    ]
    found = chance.coherence(having([history.tolist() for history in histories], 3_000))
    assert 2 < found[0] < found[1] < found[2]


def test_of_few_different_items_nothing_is_said_of_a_history() -> None:
    chance, _ = by_popularity(100, 0)
    rows = [*range(1, 20)] * 10
    known = chance.coherence(having([rows, [*rows, 20], []], 100))
    assert known[0] == known[2] == MOST
    assert abs(known[1]) < 5, "what is had again has nothing to do with others for that"
    unknown = chance.vectors.copy()
    unknown[19] = np.nan
    assert Chance.of(unknown, np.ones(100)).coherence(having([[*rows, 20]], 100)) == MOST


@pytest.mark.parametrize("had", [50, 51])
def test_of_who_has_most_of_what_there_is_nothing_is_said(had: int) -> None:
    chance, _ = by_popularity(100, 0)
    found = chance.coherence(having([list(range(1, had + 1))], 100))
    assert (found == MOST) == (had > 50)


def test_the_longer_a_history_the_surer_it_is_what_it_looks_like() -> None:
    odds = head.Odds(1, -1.0)
    evidence = np.array([[0, -1.0], [0, -1 - np.log(3)], [0, -1 + np.log(3)], [0, np.nan]])
    np.testing.assert_allclose(odds.times(np.full(4, 0.5), evidence), [0.5, 0.75, 0.25, 0.5])
    assert (odds.times(np.full(4, 7.0), evidence) < 1).all(), "estimates may be more than a probability"


@pytest.mark.parametrize("long", [499, 500])
def test_bots_are_looked_for_where_enough_histories_of_the_log_are_long(long: int) -> None:
    histories = [list(range(1, 21))] * long + [list(range(1, 20))] * 200
    histories += [list(range(first, first + 18)) for first in range(21, 200, 18)]
    lesson = lessons(make(histories, 220), KINDS, np.zeros(len(histories), int), None, None, [0])[0]
    assert (lesson.sequences.lengths >= 20).sum() > 510, "what is injected makes others long"
    assert (lesson.kind == list(KINDS).index("replace-history")).any() == (long == 500)


@pytest.mark.usefixtures("few_long")
def test_heads_see_what_their_kind_can_be_told_by(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden: list[list[int]] = []
    fit_kinds = head.fit_kinds

    def spied(
        evidence: np.ndarray, kind: np.ndarray, side: np.ndarray, unseen: list[list[int]], *rest: object
    ) -> object:
        hidden.extend(unseen)
        return fit_kinds(evidence, kind, side, unseen, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(head, "fit_kinds", spied)
    sequences, vectors, titles = with_incoherent(360, 20, 60)
    judge = Judge(Known.of(sequences, vectors, titles), 0, Silent(), folds=2)
    judge.scores()

    def seen(kind: str) -> set[str]:
        number = list(judge.shares).index(kind)
        assert not any(
            heads.values[column][:, number].any() for heads in judge._learned.heads for column in hidden[number]
        )
        return {family(name) for name in np.delete(NAMES, hidden[number])}

    assert seen("insert-uniform") == seen("insert-burst") == set(FAMILIES) - {"history"}
    assert seen("replace-history") == {"history"}


@pytest.mark.usefixtures("few_lessons")
def test_who_shares_an_account_is_told_and_some_of_them_are_counted() -> None:
    sequences, vectors, titles = genres()
    as_it_is = Judge(Known.of(sequences, vectors, titles), 0, Silent())
    as_it_is.scores()
    assert as_it_is.shares["insert-account"] < 0.005
    noisy = noise.inject(sequences, "insert-account", 0.1, 5)
    judge = Judge(Known.of(noisy.sequences, vectors, titles), 0, Silent())
    assert roc_auc_score(noisy.is_noise, judge.scores().noise) > 0.85
    assert 0.01 < judge.shares["insert-account"] < 0.1


def test_kinds_that_were_not_learned_from_are_found_too() -> None:
    sequences, vectors, titles = genres()
    noisy = noise.inject(sequences, "insert-burst", 0.1, 5)
    learned = {"insert-uniform": KINDS["insert-uniform"]}
    found = Judge(Known.of(noisy.sequences, vectors, titles), 0, Silent(), kinds=learned).scores()
    assert roc_auc_score(noisy.is_noise, found.noise) > 0.85


def test_without_texts_and_vectors_collaboration_alone_judges() -> None:
    sequences, vectors, _ = genres()
    noisy = noise.inject(sequences, "insert-uniform", 0.1, 5)
    bare = Judge(Known.of(noisy.sequences, np.zeros_like(vectors), [None] * 120), 0, Silent()).scores()
    assert roc_auc_score(noisy.is_noise, bare.noise) > 0.85
    for name in NAMES:
        if family(name).startswith(("text", "words")):
            assert np.isnan(bare.terms[:, NAMES.index(name)]).all()
            assert not bare.parts[:, NAMES.index(name)].any(), "what is missing moves no score"


@pytest.mark.usefixtures("few_lessons")
def test_the_share_rises_with_the_noise_and_a_clean_log_keeps_its_rows() -> None:
    sequences, vectors, titles = genres(700)
    shares, truth, removed = [], [], []
    for rate in (0.0, 0.1, 0.3):
        noisy = noise.inject(sequences, "insert-uniform", rate, 5) if rate else None
        log = noisy.sequences if noisy else sequences
        judge = Judge(Known.of(log, vectors, titles), 0, Silent())
        removed.append(float((judge.scores().noise > 0.5).mean()))
        shares.append(judge.shares["insert-uniform"] + judge.shares["insert-popular"])
        # So few rows are not believed wholly.
        truth.append(float(noisy.is_noise.sum() / (len(log.codes) + 5_000)) if noisy else 0.0)
    assert shares == pytest.approx(truth, abs=0.04)
    assert shares[0] < 0.01
    assert removed[0] < 0.005
    assert removed[0] < removed[1] < removed[2]


@pytest.mark.usefixtures("few_rounds", "few_long")
def test_shares_are_read_from_rows_that_stand_among_as_much_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """But those of whole histories from histories as they are: what is injected makes them look like a bot's."""
    learned: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    read: list[list[np.ndarray]] = []
    fit_kinds = head.fit_kinds

    def spied(evidence: np.ndarray, kind: np.ndarray, side: np.ndarray, *rest: object) -> object:
        learned.append((evidence, kind, side))
        return fit_kinds(evidence, kind, side, *rest)  # type: ignore[arg-type]

    def estimated(of_log: list[np.ndarray], *rest: object) -> np.ndarray:
        read.append(of_log)
        return estimate(of_log, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(head, "fit_kinds", spied)
    monkeypatch.setattr(judge_module, "estimate", estimated)
    everyone, vectors, titles = with_incoherent(360, 20, 60)
    judge = Judge(Known.of(everyone, vectors, titles), 0, Silent())
    terms = judge.scores().terms
    (evidence, kind, side), (of_log,) = learned[0], read
    there = head.ratios(judge._learned.heads, evidence[kind < 0], side[kind < 0])
    *single, whole = of_log
    for number, ratios in enumerate(single):
        np.testing.assert_array_equal(ratios, there[:, number])
    long = everyone.offsets[:-1][everyone.lengths >= 20]
    as_they_are = head.ratios(judge._learned.heads, terms[long], judge._side[everyone.user_index[long]])
    np.testing.assert_array_equal(whole, as_they_are[:, -1])


@pytest.mark.usefixtures("few_rounds")
def test_noise_is_injected_anew_until_enough_rows_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[tuple[np.ndarray, np.ndarray]] = []
    fit_kinds = head.fit_kinds

    def spied(evidence: np.ndarray, kind: np.ndarray, *rest: object) -> object:
        learned.append((evidence, kind))
        return fit_kinds(evidence, kind, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(head, "fit_kinds", spied)
    sequences, vectors, titles = genres(100)
    rows, counts = len(sequences.codes), []
    for times_over, enough in (((1, 1), 10 * rows), ((2, 9), 0), ((2, 9), 5 * rows), ((2, 3), 5 * rows)):
        monkeypatch.setattr(lessons_module, "_LESSONS", times_over)
        monkeypatch.setattr(lessons_module, "_READ_ROWS", enough)
        Judge(Known.of(sequences, vectors, titles), 0, Silent()).scores()
        evidence, kind = learned.pop()
        assert (kind < 0).sum() == rows, "rows of the log count once"
        injected = evidence[kind == 0]
        assert len(np.unique(injected, axis=0)) == len(injected), "every time others are injected"
        counts.append(len(injected))
    assert np.array(counts) / counts[0] == pytest.approx([1, 2, 5, 3], rel=0.05)


@pytest.mark.usefixtures("few_rounds")
def test_the_same_log_and_seed_give_the_same_scores() -> None:
    sequences, vectors, titles = genres(150)
    one, two = (Judge(Known.of(sequences, vectors, titles), 3, Silent()).scores() for _ in range(2))
    np.testing.assert_array_equal(one.noise, two.noise)
    assert (Judge(Known.of(sequences, vectors, titles), 4, Silent()).scores().noise != one.noise).any()


def test_a_log_without_room_for_noise_is_refused() -> None:
    sequences = make([[1, 2, 1], [2, 1, 2], [1, 2, 2]], 2)
    with pytest.raises(InputError, match="nothing can be injected as noise") as refused:
        Judge(Known.of(sequences, np.zeros((3, 1), np.float32), [None, None]), 0, Silent()).scores()
    assert "--method iadsr" in refused.value.hint


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_head_is_monotone_additive_and_indifferent_to_what_is_missing(data: st.DataObject) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows, pieces = data.draw(st.integers(60, 400)), data.draw(st.integers(1, 4))
    evidence = generator.normal(size=(rows, pieces)).round(data.draw(st.integers(0, 3)))
    injected = generator.random(rows) < 0.3
    injected[:2] = True, False
    evidence[injected] -= data.draw(st.floats(-1, 2))
    evidence[generator.random(evidence.shape) < 0.1] = np.nan
    learned = head.fit(evidence, injected, 0)
    heads = head.Heads.of([learned])
    ratio = heads.ratios(evidence)[:, 0]
    found, parts = heads.judge(evidence, np.array([0.1]))
    np.testing.assert_allclose(found, 0.1 * ratio)
    assert (parts[np.isnan(evidence)] == 0).all()
    for column in range(pieces):
        known = ~np.isnan(evidence[:, column])
        order = np.argsort(evidence[known, column], kind="stable")
        assert (np.diff(parts[known, column][order]) <= 1e-6).all(), "more evidence for a row made it more suspicious"
    np.testing.assert_allclose(np.log(ratio), parts.sum(axis=1) + learned.base, rtol=1e-5, atol=1e-5)
    side = generator.integers(0, 2, size=rows)
    probability, shared = head.Mixture([heads, heads], np.array([0.1])).judge(evidence, side)
    assert ((probability >= 0) & (probability < 1)).all()
    assert (np.diff(probability[np.argsort(ratio)]) >= 0).all()
    np.testing.assert_array_equal(shared, parts)


def test_the_head_learns_densities() -> None:
    generator = np.random.default_rng(0)
    injected = np.arange(60_000) % 3 == 0
    evidence = np.where(injected, generator.random(60_000) * 0.5, generator.random(60_000))[:, None]
    ratio = head.Heads.of([head.fit(evidence, injected, 0)]).ratios(np.array([[0.1], [0.3], [0.7]]))[:, 0]
    assert ratio[:2] == pytest.approx([2, 2], rel=0.1)
    assert ratio[2] < 0.05


def test_what_is_missing_everywhere_says_nothing() -> None:
    injected = np.arange(600) % 3 == 0
    known = np.random.default_rng(0).random((600, 2)) - 2.0 * injected[:, None]
    nothing = np.full((600, 2), np.nan)
    both = np.column_stack([nothing[:, 0], known, nothing[:, 1]])
    ratios = [head.Heads.of([head.fit(some, injected, 0)]).ratios(some) for some in (known, both, nothing)]
    np.testing.assert_array_equal(ratios[1], ratios[0])
    assert ratios[2] == pytest.approx(1)


def test_few_rows_do_not_say_more_than_few_rows_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_ROUNDS", ROUNDS)
    generator = np.random.default_rng(0)
    injected = np.arange(600) % 3 == 0
    evidence = generator.random((600, 3)) - 2.0 * injected[:, None]
    ratio = head.Heads.of([head.fit(evidence, injected, 0)]).ratios(evidence)[:, 0]
    # 400 rows of the log without one that looks injected: it may be one in 400, and not one in a million.
    assert 50 < ratio[injected].min() <= ratio.max() < 2_000


def test_heads_together_say_what_each_would_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_ROWS_AT_ONCE", 7)
    generator = np.random.default_rng(0)
    edges = [[[0.0, 0.5], [0.25], []], [[-1.0, 0.5, 0.75], [], [0.5]]]  # of two pieces of evidence, for three heads
    steps = [[generator.normal(size=len(bounds) + 1).astype(np.float32) for bounds in each] for each in edges]
    bases, weights = [0.5, -0.5, 0.0], np.array([0.2, 0.3, 0.01])
    each = [
        head.NoiseHead([np.array(edges[0][k]), np.array(edges[1][k])], [steps[0][k], steps[1][k]], bases[k])
        for k in range(3)
    ]
    evidence = generator.choice([-1.5, -1, 0, 0.25, 0.3, 0.5, 0.75, 2, np.nan], size=(100, 2)).astype(np.float32)
    heads = head.Heads.of(each)
    ratios, (found, parts) = heads.ratios(evidence), heads.judge(evidence, weights)
    for row, values in enumerate(evidence):
        added = [
            [0.0 if np.isnan(values[c]) else steps[c][k][bisect_right(edges[c][k], values[c])] for k in range(3)]
            for c in range(2)
        ]
        wanted = np.exp(np.sum(added, axis=0) + bases)
        np.testing.assert_allclose(ratios[row], wanted, rtol=1e-6)
        assert found[row] == pytest.approx(wanted @ weights)
        np.testing.assert_allclose(parts[row], added @ (wanted * weights) / found[row], rtol=1e-4, atol=1e-6)


def test_a_mixture_is_the_sum_of_its_kinds_and_is_explained_by_the_likelier_one() -> None:
    generator = np.random.default_rng(0)
    kind = generator.integers(-1, 2, size=6_000)
    evidence = generator.normal(size=(6_000, 2))
    evidence[kind >= 0, kind[kind >= 0]] -= 3
    side = np.arange(6_000) % 2
    heads = head.fit_kinds(evidence, kind, side, [(), ()], 0)
    low_in_one, sides = np.array([[-4.0, 0.0], [0.0, -4.0]]), np.array([0, 1])
    found, parts = head.Mixture(heads, np.array([0.02, 0.01])).judge(low_in_one, sides)
    ratios = head.ratios(heads, low_in_one, sides)
    np.testing.assert_allclose(found, head.probability(ratios @ [0.02, 0.01]))
    assert parts[0, 0] > 1 > parts[0, 1]
    assert parts[1, 1] > 1 > parts[1, 0]


def test_heads_are_learned_from_the_users_of_the_other_side() -> None:
    generator = np.random.default_rng(0)
    side, injected = np.arange(4_000) % 2, np.arange(4_000) % 4 < 2
    evidence = generator.normal(size=(4_000, 1))
    evidence[injected & (side == 1)] -= 3
    heads = head.fit_kinds(evidence, np.where(injected, 0, -1), side, [()], 0)
    low = np.array([[-3.0], [-3.0]])
    ratios = head.ratios(heads, low, np.array([0, 1]))
    assert ratios[0, 0] > 5, "side 0 is judged by what the injected rows of side 1 look like"
    assert ratios[1, 0] == pytest.approx(1, abs=0.5)


def test_learning_leaves_warnings_alone_whatever_scikit_learn_does_to_them(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    learn_one = head.fit

    def careless(*arguments: object) -> head.NoiseHead:
        warnings.resetwarnings()
        warnings.warn("nobody has to hear this", stacklevel=1)
        return learn_one(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(head, "fit", careless)
    generator = np.random.default_rng(0)
    evidence, kind, side = generator.normal(size=(400, 2)), np.arange(400) % 3 - 1, np.arange(400) // 3 % 2
    before = list(warnings.filters)
    head.fit_kinds(evidence, kind, side, [[], []], 0)
    assert warnings.filters == before
    assert not recwarn.list


def test_a_head_does_not_see_what_does_not_count_for_its_kind() -> None:
    generator = np.random.default_rng(0)
    kind = generator.integers(-1, 2, size=4_000)
    evidence = generator.normal(size=(4_000, 2)) - 2 * (kind >= 0)[:, None]
    before = evidence.copy()
    heads = head.fit_kinds(evidence, kind, np.arange(4_000) % 2, [[1], [0]], 0)
    np.testing.assert_array_equal(evidence, before)
    for number, unseen in ((0, 1), (1, 0)):
        assert not heads[0].values[unseen][:, number].any()
        _, parts = heads[0].judge(evidence, np.where(np.arange(2) == number, 1, 1e-30))
        assert np.abs(parts[:, unseen]).max() < 1e-20
        assert parts[:, number].std() > 0.5


def test_the_share_of_each_kind_is_read_where_only_noise_is() -> None:
    generator = np.random.default_rng(0)

    def ratios(rows: int, *means: float) -> np.ndarray:
        return np.stack([mean + generator.normal(size=rows) for mean in means], axis=1)

    # The plain kinds look like each other somewhat, and like the third; the third looks like itself alone.
    of_kind = [ratios(40_000, 4, 3, 4), ratios(40_000, 3, 4, 4), ratios(40_000, 0, 0, 4)]
    of_injected, kind = np.concatenate(of_kind), np.repeat([0, 1, 2], 40_000)
    clean = ratios(100_000, 0, 0, 0)
    kinds = [Kind("", 0.1, sort) for sort in (Sort.PLAIN, Sort.PLAIN, Sort.DOUBTFUL)]
    counted = [np.ones(120_000, dtype=bool)] * 3
    # Of the third kind, 10% are believed at most, and none beside as much of the plain ones.
    for true, estimated in (
        ([0, 0, 0], [0, 0, 0]),
        ([0.1, 0, 0], [0.1, 0, 0]),
        ([0, 0.2, 0], [0, 0.2, 0]),
        ([0, 0, 0.03], [0, 0, 0.03]),
        ([0, 0, 0.2], [0, 0, 0.1]),
        ([0.05, 0.1, 0.03], [0.05, 0.1, 0]),
    ):
        rows = [round(100_000 * share / (1 - sum(true))) for share in true]
        log = np.concatenate([clean, *(part[:size] for part, size in zip(of_kind, rows, strict=True))])
        found = estimate(log.T, of_injected, kind, counted, kinds)
        assert found == pytest.approx(estimated, abs=0.015)
    assert estimate(clean[:0].T, of_injected, kind, counted, kinds).tolist() == [0, 0, 0]
    log, own = np.concatenate([clean, of_kind[0]]), [rows[:40_000] for rows in counted]
    only_first = estimate(log.T, of_kind[0], np.zeros(40_000, int), own, kinds)
    assert only_first[0] == pytest.approx(40 / 140, abs=0.02)
    assert only_first[1:].tolist() == [0, 0], "a kind that nothing was injected of cannot be seen"


def test_a_share_is_never_more_than_is_seen_where_many_injected_rows_are() -> None:
    # Of the log 1% looks as the worst fiftieth of the injected rows does, and none as the rest.
    of_injected = np.linspace(0, 1, 10_000)
    log = np.r_[np.full(9_900, -1.0), np.full(100, 0.99)]
    found = estimate(
        [log], of_injected[:, None], np.zeros(10_000, int), [np.ones(10_000, bool)], [KINDS["insert-burst"]]
    )
    assert found == pytest.approx([0.01 / 0.3], rel=0.01)


def test_shares_of_all_kinds_are_no_more_than_all() -> None:
    kinds = [Kind("", 0.1, Sort.PLAIN), Kind("", 0.1, Sort.WHOLE)]
    of_injected = np.repeat(np.eye(2) * 10, 500, axis=0) + np.random.default_rng(0).normal(size=(1000, 2))
    log = [np.r_[np.full(300, -9.0), np.full(700, 20.0)]] * 2
    found = estimate(log, of_injected, np.repeat([0, 1], 500), [np.ones(1000, bool)] * 2, kinds)
    assert found.sum() == pytest.approx(1)
    assert found[0] / found[1] == pytest.approx(0.7 / 0.3 / ((0.7 - 700**0.5 / 1000) / 0.8), rel=0.05)


def test_a_few_that_look_like_bots_are_none() -> None:
    bots = np.linspace(10, 20, 100)
    for alike, share in ((0, 0.0), (1, 0.0), (16, 12 / 500), (100, 90 / 500)):
        log = np.concatenate([np.zeros(500 - alike), np.full(alike, 30.0)])
        found = estimate([log], bots[:, None], np.zeros(100, int), [np.ones(100, bool)], [Kind("", 0.1, Sort.WHOLE)])
        # The lowest is where four fifths of the bots are.
        assert found == pytest.approx([share / 0.8], abs=1e-9)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), texts=st.sampled_from(["all", "some", "none"]))
def test_any_log_is_judged_or_refused(seed: int, texts: str) -> None:
    generator = np.random.default_rng(seed)
    items, users = int(generator.integers(2, 40)), int(generator.integers(2, 25))
    lengths = generator.choice([1, 2, 3, 5, 8, 20], size=users)
    sequences = make([generator.integers(1, items + 1, size=length).tolist() for length in lengths], items)
    vectors = generator.normal(size=(items + 1, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[0] = 0
    if texts != "all":
        vectors[generator.random(items + 1) < {"some": 0.5, "none": 1.0}[texts]] = 0
    titles = [
        None if texts == "none" else str(generator.choice(["", "!!!", "the cat", "red", " "])) for _ in range(items)
    ]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(head, "_ROUNDS", 10)
            found = Judge(Known.of(sequences, vectors, titles), 0, Silent()).scores()
    except InputError:
        return
    judged = found.status == Status.SCORED
    np.testing.assert_array_equal(judged, (sequences.lengths > 1)[sequences.user_index])
    assert ((found.noise[judged] >= 0) & (found.noise[judged] <= 1)).all()
    assert np.isnan(found.noise[~judged]).all()


@pytest.mark.parametrize(
    ("there", "least", "most"),
    [
        # Bots among a thousand histories that look like those injected, but for the worst, of which there is one.
        (np.r_[np.linspace(1, 90, 50), 99.5], 0.01, 0.05),
        # Histories that look like some injected ones, but none like the worst third.
        (np.linspace(20, 60, 50), 0.0, 0.0),
        # One, which may look so by chance.
        (np.array([80.0]), 0.0, 0.0),
    ],
)
def test_bots_are_seen_where_most_injected_ones_are_and_no_more_than_where_few_are(
    there: np.ndarray, least: float, most: float
) -> None:
    injected = np.linspace(1, 100, 200)[:, None]
    of_log = np.r_[np.zeros(1_000 - len(there)), there]
    kind = KINDS["replace-history"]
    counted = [np.ones(200, bool)]
    share = estimate([of_log], injected, np.zeros(200, int), counted, [kind])[0]
    assert least <= share <= most
