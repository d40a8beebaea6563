"""`denoise` from a log to its outputs, in memory or in parts as the log and the settings ask."""

from collections.abc import Callable
from pathlib import Path

from iadsr_cli import explanations, pipeline
from iadsr_cli.config import Config
from iadsr_cli.errors import UsageError
from iadsr_cli.explanations import ExplainedRow
from iadsr_cli.outputs import OutputPlan
from iadsr_cli.parted import pipeline as parts
from iadsr_cli.parted.pipeline import DenoisedParts, PartedWorkspace
from iadsr_cli.pipeline import Denoised, Workspace
from iadsr_cli.progress import Reporter


def clean(
    source: str,
    items: str | None,
    model: Path | None,
    plan: OutputPlan,
    user: str | None,
    config: Config,
    reporter: Reporter,
    understood: Callable[[Workspace | PartedWorkspace], None],
) -> tuple[Denoised | DenoisedParts, list[ExplainedRow] | None]:
    """Score every row of a log, decide on it and write the outputs, unless more would go than the settings allow.

    Args:
        source: the log.
        items: the file of its items' texts, or None.
        model: the folder that rows are scored with, or None to make what is missing.
        plan: of the outputs.
        user: whose history is to be explained, or None.
        config: the settings.
        reporter: of the run.
        understood: told of the log as it was understood, before any work.

    Returns:
        what was decided, and the history.
    """
    if parts.chosen(source, model, config):
        for option, given in (("--report", plan.report), ("--explain-user", user)):
            if given is not None:
                raise UsageError(
                    f"{option} looks at the whole log, which is cleaned in parts here.",
                    "Leave it out, or take the log into memory whole: --in-parts never, without --engine ray.",
                )
        parted = parts.open_log(source, items, model, plan, config, reporter)
        understood(parted)
        return parts.denoise(parted, model, plan), None
    workspace = pipeline.open_log(source, items, config, reporter)
    understood(workspace)
    plan.check_log(workspace.log)
    if user is not None:
        explanations.check_user(workspace, user)
    denoised = pipeline.denoise(workspace, model)
    if denoised.refusal is None:
        plan.write(workspace.log, denoised.scores, denoised.decisions, reporter)
        if plan.report is not None:
            from iadsr_cli.evaluation import findings

            findings.save(findings.of_denoised(workspace, denoised), plan.report, force=plan.force)
    return denoised, None if user is None else explanations.history(workspace, denoised, user)
