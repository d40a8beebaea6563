"""What each command says of its input and its outcome."""

from pathlib import Path
from typing import TYPE_CHECKING

from iadsr_cli.cli.console import Face

if TYPE_CHECKING:
    from iadsr_cli.artifacts import Manifest
    from iadsr_cli.evaluation.protocols import Ranking
    from iadsr_cli.pipeline import Denoised, OutputPlan, Workspace


def show_log(face: Face, workspace: "Workspace") -> None:
    """Say what was understood: the file, its roles, its counts."""
    log, texts = workspace.log, workspace.texts
    with_text = sum(text is not None for text in texts.texts)
    text = "none" if not texts.columns else f"{', '.join(texts.columns)} ({with_text:,} of {len(texts.ids):,} items)"
    order = f"{log.time_description}, ties in file order" if log.time_description else "file order (no time column)"
    face.facts(
        f"{log.name} ({log.format})",
        [
            ("rows", f"{log.num_rows:,}"),
            ("user", f"{log.roles.user} ({workspace.users:,})"),
            ("item", f"{log.roles.item} ({workspace.items:,})"),
            ("order", order),
            ("text", text),
        ],
    )


def show_training(face: Face, folder: Path, manifest: "Manifest") -> None:
    """Say what was trained."""
    rows = [("items", f"{manifest.facts['items']:,}"), ("epochs", f"{manifest.facts['epochs']}")]
    if "with_vector" in manifest.facts:
        rows.append(("with text", f"{manifest.facts['with_vector']:,} items"))
    rows.append(("slowest", face.slowest()))
    face.facts(f"Wrote {folder}", rows)
    face.summary({"output": str(folder), **manifest.facts})


def show_denoised(face: Face, denoised: "Denoised", plan: "OutputPlan", *, dry_run: bool) -> None:
    """Print the closing table."""
    facts = denoised.summary
    rows, removed = facts["rows"], facts["removed"]

    def share(count: int) -> str:
        return f"{count:,} ({count / rows:.1%})" if rows else "0"

    would = "would be " if dry_run else ""
    fifths = facts["removed_share_by_item_frequency_fifth"]
    face.facts(
        "Dry run: nothing was written" if dry_run else f"Wrote {', '.join(plan.written)}",
        [
            ("rows", f"{rows:,} of {facts['users']:,} users and {facts['items']:,} items"),
            (f"{would}kept", f"{share(facts['kept'])}"),
            (f"{would}removed", f"{share(removed)}, from {facts['users_touched']:,} users"),
            ("protected", f"{share(facts['protected'])} looked like noise and stayed"),
            ("unscored", f"{share(facts['unscored'])} and kept"),
            (
                "removed by item frequency",
                "rarest fifth " + " | ".join(f"{value:.1%}" for value in fifths) + " most frequent",
            ),
            ("slowest", face.slowest()),
        ],
    )


def show_ranking(face: Face, outcome: "Ranking", output: Path | None) -> None:
    """Print the table of leave-one-out metrics."""
    metrics = outcome.metrics
    face.table(
        f"{metrics['backbone']}: the last item of {metrics['users']:,} users among {metrics['items']:,} items",
        ["K", "HR@K", "NDCG@K", "MRR@K"],
        [[str(k), *(f"{metrics['test'][f'{name}@{k}']:.4f}" for name in ("HR", "NDCG", "MRR"))] for k in (5, 10, 20)],
    )
    if output is not None:
        face.facts(f"Wrote {output}", [("slowest", face.slowest())])
