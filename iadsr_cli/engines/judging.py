"""How a bucket of a log is judged: read, scored, decided on as far as its users tell, and what was found written."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from iadsr_cli.artifacts import read_manifest, write_artifact
from iadsr_cli.config import Config
from iadsr_cli.engines import buckets, verdicts
from iadsr_cli.engines.found import FOUND, write_found
from iadsr_cli.engines.scorers import Scorer
from iadsr_cli.errors import ArtifactError
from iadsr_cli.progress import Reporter


@dataclass(frozen=True)
class Judging:
    """How the buckets of one log are judged, each by itself and in whatever process.

    Attributes:
        split: the buckets.
        scorer: gives evidence; it is prepared.
        folder: where what was found is kept, a `judged` artifact for each bucket.
        rows: of the log.
        config: all settings.
        explained: whether it is kept why rows have their scores.
    """

    split: buckets.Split
    scorer: Scorer
    folder: Path
    rows: int
    config: Config
    explained: bool

    @property
    def files(self) -> list[Path]:
        """The files of what was found, by the numbers of the buckets."""
        return [self._place(number) / FOUND for number in range(self.split.count)]

    def at_hand(self, number: int, reporter: Reporter) -> bool:
        """Return whether a bucket is judged already, or its scores are known in this process alone.

        What an interrupted run has left and was damaged since is removed, and `reporter` is told of it.
        """
        place = self._place(number)
        if not place.exists():
            return self.scorer.knows(number)
        try:
            read_manifest(place, "judged")
        except ArtifactError as error:
            reporter.warn(f"A bucket is judged again: {error.message}")
            shutil.rmtree(place)
            return self.scorer.knows(number)
        return True

    def judge(self, number: int) -> int:
        """Judge a bucket, unless an interrupted run has, and return how many rows it has."""
        place = self._place(number)
        if place.exists():
            rows: int = read_manifest(place, "judged").facts["rows"]
            return rows
        bucket = self.split.bucket(number)
        scores = self.scorer.judge(number, bucket)
        found = verdicts.judged(bucket, self.split, scores, self.config, self.explained)
        facts = {"rows": len(bucket.rows)}
        write_artifact(
            place,
            "judged",
            lambda draft: write_found(draft / FOUND, found, self.rows),
            config={},
            inputs={},
            facts=facts,
        )
        return len(bucket.rows)

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:04}"
