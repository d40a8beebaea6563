"""How a bucket of a log is judged: read, scored, decided on as far as its users tell, and what was found written."""

from dataclasses import dataclass
from pathlib import Path

from iadsr_cli.config import Config
from iadsr_cli.engines import buckets, verdicts
from iadsr_cli.engines.found import count_found, write_found
from iadsr_cli.engines.scorers import Scorer


@dataclass(frozen=True)
class Judging:
    """How the buckets of one log are judged, each by itself and in whatever process.

    Attributes:
        split: the buckets.
        scorer: gives evidence; it is prepared.
        folder: where what was found is kept, a file for each bucket.
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
        """The files, by the numbers of the buckets."""
        return [buckets.path(self.folder, number) for number in range(self.split.count)]

    def at_hand(self, number: int) -> bool:
        """Return whether a bucket is judged already, or its scores are known in this process alone."""
        return buckets.path(self.folder, number).exists() or self.scorer.knows(number)

    def judge(self, number: int) -> int:
        """Judge a bucket, unless an interrupted run has, and return how many rows it has."""
        file = buckets.path(self.folder, number)
        if file.exists():
            return count_found(file)
        bucket = self.split.bucket(number)
        scores = self.scorer.judge(number, bucket)
        write_found(file, verdicts.judged(bucket, self.split, scores, self.config, self.explained), self.rows)
        return len(bucket.rows)
