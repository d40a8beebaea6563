"""The example log is what its generator writes, and the world is as the generator's first lines promise."""

import csv
import importlib.util
import io
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("examples_generate", EXAMPLES / "generate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def world(generate):
    return generate.build_world()


def read(name):
    return list(csv.DictReader(io.StringIO((EXAMPLES / name).read_bytes().decode(), newline="")))


def histories(world):
    """Each user's rows, in time order."""
    rows = {user: [] for user in world.interests}
    for row in world.rows:
        rows[row.user_id].append(row)
    return rows


def test_the_checked_in_files_are_what_the_generator_writes(generate, world):
    for name, content in generate.files(world).items():
        assert (EXAMPLES / name).read_bytes() == content, f"run: python examples/generate.py ({name} differs)"


def test_the_command_writes_the_same_files_elsewhere(generate, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["generate.py", "--users", "30", "--seed", "3", "--out", str(tmp_path / "a")])
    generate.main()
    assert "760 items" in capsys.readouterr().out
    expected = generate.files(generate.build_world(users=30, seed=3))
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == expected


def test_another_seed_is_another_world_and_more_users_leave_the_first_alone(generate, world):
    assert generate.files(generate.build_world(20, seed=8)) != generate.files(generate.build_world(20))
    many = histories(world)
    for user, rows in histories(generate.build_world(20)).items():
        assert [(r.timestamp, r.item.title) for r in rows] == [(r.timestamp, r.item.title) for r in many[user]]


def test_everything_checked_in_stays_under_a_megabyte():
    assert sum(path.stat().st_size for path in EXAMPLES.iterdir() if path.is_file()) < 1_000_000


def test_labels_name_every_row_of_the_log_in_order(world):
    log, labels = read("shop.csv"), read("shop-labels.csv")
    assert [int(label["row"]) for label in labels] == list(range(len(log)))
    assert [(row["user_id"], row["item_id"], int(row["timestamp"])) for row in log] == [
        (row.user_id, row.item.item_id, row.timestamp) for row in world.rows
    ]
    assert [label["kind"] for label in labels] == [row.kind for row in world.rows]
    assert all(label["is_noise"] == str(int(label["kind"] != "")) for label in labels)
    assert all(a.timestamp <= b.timestamp for a, b in pairwise(world.rows))


def test_titles_are_the_items_own_and_one_in_a_hundred_is_missing():
    items = {row["item_id"]: row["title"] for row in read("items.csv")}
    titles = [title for title in items.values() if title]
    assert len(set(titles)) == len(titles)
    assert 0.005 < 1 - len(titles) / len(items) < 0.02
    assert all(row["title"] == items[row["item_id"]] for row in read("shop.csv"))


def test_no_product_stands_in_the_catalogue_twice(generate):
    phrases = Counter(phrase for *_, variants in generate.products() for phrase in variants)
    assert not [phrase for phrase, times in phrases.items() if times > 1 or not phrase]


def test_noise_is_a_small_share_of_every_kind_and_never_an_interest_of_the_user(world):
    noise = [row for row in world.rows if row.kind]
    assert 0.07 < len(noise) / len(world.rows) < 0.11
    kinds = Counter(row.kind for row in noise)
    assert set(kinds) == {"gift", "misclick", "shared-account"}
    assert min(kinds.values()) > 0.2 * len(noise)
    assert all((row.item.category not in world.interests[row.user_id]) == bool(row.kind) for row in world.rows)


def test_gifts_and_shared_sessions_are_runs_and_misclicks_follow_something_genuine(generate, world):
    holidays = [generate.FIRST_DAY.timestamp() + day * generate.DAY for day in generate.HOLIDAYS]
    for rows in histories(world).values():
        for before, row in pairwise([None, *rows]):
            if row.kind == "misclick":
                assert before.kind == ""
                assert 0 < row.timestamp - before.timestamp <= 40
            if row.kind == "gift":
                assert any(0 < holiday - row.timestamp < 12 * generate.DAY for holiday in holidays)
        for kind, longest in [("gift", 4), ("shared-account", 5)]:
            places = [place for place, row in enumerate(rows) if row.kind == kind]
            assert len({rows[place].item.category for place in places}) <= 1
            assert len(places) <= longest
            assert not places or places == list(range(places[0], places[-1] + 1))


def test_an_interest_taken_up_late_stays(generate, world):
    later = 0
    for user, rows in histories(world).items():
        genuine = Counter(row.item.category for row in rows if not row.kind)
        for category, weight in world.interests[user].items():
            if weight == 1.2:
                later += 1
                assert genuine[category] >= generate.STAYS
    assert later >= 20


def test_histories_have_a_heavy_tail_and_items_a_long_one(world):
    lengths = sorted(len(rows) for rows in histories(world).values())
    assert lengths[0] >= 4
    assert lengths[-1] <= 60
    assert lengths[len(lengths) // 2] < 0.8 * sum(lengths) / len(lengths)
    counts = sorted(Counter(row.item.item_id for row in world.rows).values(), reverse=True)
    assert sum(counts[: len(world.items) // 5]) > 0.5 * len(world.rows)


def test_consumables_are_bought_again_and_nothing_else_much(world):
    again = Counter()
    for rows in histories(world).values():
        seen = set()
        for row in rows:
            again[row.item.role] += row.item in seen
            seen.add(row.item)
    assert again["~"] > 0.1 * len(world.rows)
    assert again["*"] + again["+"] < 0.01 * len(world.rows)


def test_the_next_item_is_better_told_from_the_last_than_from_popularity(world):
    """Ten guesses for each user's last row, from the pairs of all other rows and from popularity alone."""
    pairs, popular, targets = {}, Counter(), []
    for rows in histories(world).values():
        items = [row.item.item_id for row in rows]
        popular.update(items[:-1])
        targets.append(items[-2:])
        for a, b in pairwise(items[:-1]):
            pairs.setdefault(a, Counter())[b] += 1
    best = {item for item, _ in popular.most_common(10)}
    by_popularity = sum(b in best for _, b in targets)
    by_last = sum(b in dict(pairs.get(a, Counter()).most_common(10)) for a, b in targets)
    assert by_last > 3 * by_popularity
