"""Leave-one-out: each user's last item is ranked among all items by a recommender that never saw it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from iadsr_cli.artifacts import Manifest, write_artifact
from iadsr_cli.errors import ArtifactError
from iadsr_cli.pipeline import Workspace
from iadsr_cli.stages import check_same_log


@dataclass(frozen=True)
class Ranking:
    """The outcome of leave-one-out.

    Attributes:
        metrics: what `metrics.json` holds: settings, counts, and HR, NDCG and MRR at 5, 10 and 20.
        users: user ids [U].
        ranks: rank of each user's last item, 1 is best, int64 [U].
        model: the manifest of the recommender.
    """

    metrics: dict[str, Any]
    users: pa.Array
    ranks: np.ndarray
    model: Manifest


def leave_one_out(workspace: Workspace, folder: Path) -> Ranking:
    """Rank last items with the recommender in `folder` (pretrain or align).

    Raises:
        ArtifactError: if it is of another log, or has seen the items it would be tested on.
        InputError: if the log was changed meanwhile.
    """
    from iadsr_cli.hardware import pick_device
    from iadsr_cli.models.store import load_recommender
    from iadsr_cli.ranking import held_out_ranks, summarise

    sequences = workspace.trainable
    backbone, _, manifest = load_recommender(folder, pick_device(workspace.config.run.device))
    check_same_log(manifest, sequences, folder)
    if manifest.config["pretrain"]["hold_out"] < 2:
        raise ArtifactError(
            f"The model in {folder} held out one item per user, which chose when its training stopped.",
            "Make it again with --hold-out 2, which leaves another one to test.",
        )
    users, ranks = [], []
    total = int((sequences.lengths >= 3).sum())
    with workspace.reporter.stage("rank", total, "users") as stage:
        for chunk, chunk_ranks in held_out_ranks(backbone, sequences, 1):
            users.append(chunk)
            ranks.append(chunk_ranks)
            stage.advance(len(chunk))
    workspace.check_unchanged()
    order = np.argsort(np.concatenate(users))
    every_rank = np.concatenate(ranks)[order]
    metrics = {
        "protocol": "leave-one-out, full catalogue, ties count against the item, history not excluded",
        "kind": manifest.kind,
        "backbone": manifest.config["backbone"]["backbone"],
        "seed": manifest.config["seed"],
        "users": total,
        "items": len(sequences.items),
        "test": summarise(every_rank),
    }
    return Ranking(metrics, workspace.ids_of(np.concatenate(users)[order]), every_rank, manifest)


def save(ranking: Ranking, folder: Path, *, force: bool) -> Manifest:
    """Write `metrics.json` and `ranks.parquet` (user_id, rank) with a manifest."""

    def fill(draft: Path) -> None:
        text = json.dumps({"schema_version": 1, **ranking.metrics}, indent=2)
        (draft / "metrics.json").write_text(text + "\n", encoding="utf-8")
        pq.write_table(pa.table({"user_id": ranking.users, "rank": ranking.ranks}), draft / "ranks.parquet")

    return write_artifact(
        folder,
        "evaluate",
        fill,
        config=ranking.model.config,
        inputs={"log": ranking.model.inputs["log"], "model": ranking.model.seal},
        facts=ranking.metrics,
        force=force,
    )
