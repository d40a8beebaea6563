"""A log that is judged several times over, and what is made of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from histories import make

from iadsr_cli.crossfit import Judge, Known, Panel, panel
from iadsr_cli.crossfit.evidence import NAMES
from iadsr_cli.crossfit.panel import together
from iadsr_cli.progress import Silent
from iadsr_cli.scores import Scores, Status
from iadsr_cli.sequences import Sequences

ITEMS = 30


def a_log(users: int = 30) -> Sequences:
    generator = np.random.default_rng(0)
    return make([(generator.choice(ITEMS, 6, replace=False) + 1).tolist() for _ in range(users)], ITEMS)


def said(noise: list[float], shares: dict[str, float], terms: list[float], parts: list[float]) -> Scores:
    status = np.where(np.isnan(noise), Status.SHORT_HISTORY, Status.SCORED).astype(np.int8)
    one, other = (np.array(each, np.float32)[:, None] for each in (terms, parts))
    return Scores(np.array(noise, np.float32), one, status, other, shares)


class Heard(Silent):
    """Remembers the stages, and is what they tell of themselves."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None, str]] = []
        self.steps = 0

    @contextmanager
    def stage(self, name: str, total: int | None, unit: str) -> Iterator["Heard"]:
        self.stages.append((name, total, unit))
        yield self

    def advance(self, amount: int = 1) -> None:
        self.steps += amount

    def describe(self, detail: str) -> None:
        self.detail = detail


def test_the_mean_is_of_what_is_known() -> None:
    nan = float("nan")
    found = together(
        [
            said([0.2, nan, 0.9], {"a": 0.1, "b": 0.02}, [0.5, nan, nan], [1, 0, 2]),
            said([0.4, nan, 0.3], {"a": 0.2}, [0.1, nan, 0.7], [3, 0, 4]),
        ]
    )
    assert found.noise == pytest.approx([0.3, nan, 0.6], nan_ok=True)
    assert found.terms[:, 0] == pytest.approx([0.3, nan, 0.7], nan_ok=True)
    assert found.parts is not None and found.parts[:, 0] == pytest.approx([2, 0, 3])
    assert found.shares == pytest.approx({"a": 0.15, "b": 0.01})
    assert found.status.tolist() == [Status.SCORED, Status.SHORT_HISTORY, Status.SCORED]
    assert found.noise.dtype == found.terms.dtype == np.float32


@pytest.mark.parametrize(("told", "untold"), [(1, 1), (1, 2), (2, 2)])
def test_where_half_of_the_judges_can_tell_nothing_nothing_is_told(told: int, untold: int) -> None:
    sure, unsure = said([1.0], {"a": 0.3}, [0], [0]), said([0.01], {}, [0], [0])
    found = together([sure] * told + [unsure] * untold)
    assert found.shares == {}
    assert found.noise == pytest.approx([0.01]), "whoever takes all of it for noise has no say"
    assert together([sure, sure, unsure]).noise == pytest.approx([1.0])


@pytest.mark.usefixtures("few_rounds")
def test_a_small_log_is_judged_several_times_each_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel, "_MOST", 3)
    log, vectors, texts = a_log(), np.zeros((ITEMS + 1, 2), np.float32), [None] * ITEMS
    heard, made, learned = Heard(), list[Known](), Known.of

    def remembered(log: Sequences, vectors: np.ndarray, texts: list[None]) -> Known:
        made.append(learned(log, vectors, texts))
        return made[-1]

    monkeypatch.setattr(Known, "of", remembered)
    judges = Panel(log, vectors, texts, 7, heard)
    found = judges.scores()
    assert len(made) == 1 and all(judge._known is made[0] for judge in judges.judges), "they share what is known"
    assert heard.stages == [("judge", 9, "steps")]
    assert heard.steps == 9
    seeds = [judge._seed for judge in judges.judges]
    assert seeds[0] == 7 and len(set(seeds)) == 3
    alone = [Judge(Known.of(log, vectors, texts), seed, Silent()).scores() for seed in seeds]
    assert found.noise == pytest.approx(np.mean([scores.noise for scores in alone], axis=0), abs=1e-6)
    assert len({tuple(scores.noise) for scores in alone}) == 3
    assert found.terms.shape == (len(log.codes), len(NAMES))
    again = Panel(log, vectors, texts, 7, Silent()).scores()
    np.testing.assert_array_equal(found.noise, again.noise)
    # Others are judged as often.
    others = judges.teaching().judge(log)
    each = [judge.teaching().judge(log).noise for judge in judges.judges]
    assert others.noise == pytest.approx(np.mean(each, axis=0), abs=1e-6)


@pytest.mark.usefixtures("few_rounds")
def test_a_large_log_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panel, "_MOST", 3)
    log, vectors, texts = a_log(), np.zeros((ITEMS + 1, 2), np.float32), [None] * ITEMS
    for rows, count in ((len(log.codes), 1), (2 * len(log.codes), 2), (10 * len(log.codes), 3)):
        monkeypatch.setattr(panel, "_READ_ROWS", rows)
        assert len(Panel(log, vectors, texts, 7, Silent()).judges) == count
    monkeypatch.setattr(panel, "_READ_ROWS", 1)
    assert len(Panel(log, vectors, texts, 7, Silent(), judges=4).judges) == 4
    heard = Heard()
    found = Panel(log, vectors, texts, 7, heard).scores()
    assert [name for name, _, _ in heard.stages] == ["predict", "evidence", "learn"]
    np.testing.assert_array_equal(found.noise, Judge(Known.of(log, vectors, texts), 7, Silent()).scores().noise)
