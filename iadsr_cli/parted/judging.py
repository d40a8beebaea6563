"""How a bucket of a log is judged: read, scored, decided on as far as its users tell, and what was found written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iadsr_cli.artifacts import read_manifest, write_artifact
from iadsr_cli.config import Config
from iadsr_cli.errors import ArtifactError
from iadsr_cli.parted import buckets, verdicts
from iadsr_cli.parted.found import FOUND, write_found
from iadsr_cli.parted.scorers import Scorer
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

    def known(self, number: int, reporter: Reporter) -> dict[str, Any] | None:
        """Return the facts of a bucket that an earlier run has judged, or None: it is to be judged.

        `reporter` is told if what that run has left was damaged since.
        """
        place = self._place(number)
        if not place.exists():
            return None
        try:
            return read_manifest(place, "judged").facts
        except ArtifactError as error:
            reporter.warn(f"A bucket is judged again: {error.message}")
            return None

    def judge(self, number: int) -> int:
        """Judge a bucket, and return how many rows it has."""
        bucket = self.split.bucket(number)
        scores = self.scorer.judge(number, bucket)
        found = verdicts.judged(bucket, self.split, scores, self.config, self.explained)
        facts = {"rows": len(bucket.rows), "shares": self.scorer.shares}
        write_artifact(
            self._place(number),
            "judged",
            lambda draft: write_found(draft / FOUND, found, self.rows),
            config={},
            inputs={},
            facts=facts,
        )
        return len(bucket.rows)

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:04}"
