"""`denoise` for logs that do not fit into memory: split by user, judge bucket by bucket, give back part by part.

Memory is that of the model, of the log's item ids and a row of each, of one bucket and of one batch of rows, whatever
the number of rows.
Every bucket that has been judged stays on disk until the output is whole, so that an interrupted run goes on.
"""

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from iadsr_cli.artifacts import cache_name, digest, known_manifest
from iadsr_cli.config import Config
from iadsr_cli.decisions import Decisions
from iadsr_cli.engines.work import Engine, opened
from iadsr_cli.errors import GateError, UsageError
from iadsr_cli.explanations import Whys, outcomes, reasons
from iadsr_cli.locks import one_at_a_time
from iadsr_cli.logs.parted_reader import fills_memory, open_parts
from iadsr_cli.logs.parts import PartedLog
from iadsr_cli.logs.reader import ItemTexts
from iadsr_cli.logs.source import Source
from iadsr_cli.logs.stand_ins import warn_of_stand_ins
from iadsr_cli.logs.ties import Ties
from iadsr_cli.outputs import ANNOTATED, REMOVED, OutputPlan
from iadsr_cli.parted import buckets, verdicts
from iadsr_cli.parted.found import Found
from iadsr_cli.parted.judging import Judging
from iadsr_cli.parted.scorers import CrossfitScorer, ModelScorer, Scorer
from iadsr_cli.pipeline import gate, joined_texts, log_settings, made, noise_shares, warn_of_no_fit
from iadsr_cli.progress import Reporter
from iadsr_cli.protections import Protections, warn_of_none, wishes
from iadsr_cli.stages import check_device


@dataclass(frozen=True)
class DenoisedParts:
    """The outcome: see `pipeline.Denoised`.

    Attributes:
        summary: what the decisions amount to.
        cutoff: the noise score above which rows were to go, or None under a budget.
        wishes: what rows were protected with, as it was typed.
        refusal: why nothing was written, or None.
    """

    summary: dict[str, Any]
    cutoff: float | None
    wishes: tuple[str, ...]
    refusal: GateError | None


def chosen(source: str, model: Path | None, config: Config) -> bool:
    """Return whether a log is to be cleaned in parts: as the settings say, else where it would fill half the memory.

    Raises:
        UsageError: if the settings contradict each other.
    """
    if config.engine.engine == "ray":
        if config.parts.in_parts == "never":
            raise UsageError(
                f"--engine {config.engine.engine} cleans a log in parts, and --in-parts never does not.",
                "Leave one of them out.",
            )
        return True
    if config.parts.in_parts != "auto":
        return config.parts.in_parts == "always"
    if model is None and config.decision.method != "crossfit":
        return False
    return fills_memory(source, config.log)


@dataclass(frozen=True)
class PartedWorkspace:
    """What `denoise` needs of one log that is cleaned in parts: see `pipeline.Workspace`.

    Attributes:
        log: the log, opened.
        sources: its files.
        texts: its items' texts; no items where a model has vectors of its own.
        config: all settings.
        reporter: told of the progress.
    """

    log: PartedLog
    sources: list[Source]
    texts: ItemTexts
    config: Config
    reporter: Reporter

    @property
    def users(self) -> None:
        """How many users the log has is known when all are judged."""

    @property
    def items(self) -> int | None:
        """How many items the log has, or None: nobody has looked."""
        return len(self.texts.ids) or None

    @property
    def ties(self) -> None:
        """Where the order of the log's rows says nothing is known when it is split."""

    def check_unchanged(self) -> None:
        """Check that the files are what was read from them.

        Raises:
            InputError: if one is not, or is gone.
        """
        for source in (*self.sources, *self.texts.sources):
            source.check_unchanged()


def open_log(
    source: str, items: str | None, model: Path | None, plan: OutputPlan, config: Config, reporter: Reporter
) -> PartedWorkspace:
    """Open a log to be cleaned in parts, and check what can be checked before any work; see `pipeline.open_log`."""
    check_device(config)
    plan.check_files()
    if model is None and config.decision.method != "crossfit":
        raise UsageError(
            f"--method {config.decision.method} trains on the whole log, which is not done in parts.",
            "Train on a part of it with pretrain and align, and pass the folder as --model.",
        )
    with log_settings(items, config) as settings:
        log = open_parts(source, settings, reporter)
    plan.check_parts(log)
    for warning in log.warnings():
        reporter.warn(warning)
    sources = log.sources()
    texts = ItemTexts([], [], log.roles.text)
    if model is None:
        texts = joined_texts(log.item_texts(reporter), items, log, config, reporter)
    return PartedWorkspace(log, sources, texts, config, reporter)


def denoise(workspace: PartedWorkspace, model: Path | None, plan: OutputPlan) -> DenoisedParts:
    """Score every row of a log, decide on it and write the outputs.

    What is reached on the way is kept in the cache until outputs are written: a dry run leaves it for the real one.

    Args:
        workspace: of the log.
        model: the folder that rows are scored with, or None for the default method.
        plan: of the outputs.

    Raises:
        InputError: if one of the files was changed meanwhile.
    """
    config = workspace.config
    with opened(config.engine) as engine:
        scorer: Scorer = (
            CrossfitScorer(workspace.texts, config, workspace.reporter, engine)
            if model is None
            else ModelScorer(model, config)
        )
        return _denoise(workspace, scorer, plan, engine)


def _denoise(workspace: PartedWorkspace, scorer: Scorer, plan: OutputPlan, engine: Engine) -> DenoisedParts:
    log, config, reporter = workspace.log, workspace.config, workspace.reporter
    names = [str(within) for _, within in log.paths]
    content = digest([[name, source.sha256] for name, source in zip(names, workspace.sources, strict=True)])
    count = buckets.count(log.num_rows)
    split_key = {
        "log": content,
        "roles": [log.roles.user, log.roles.item, log.roles.time],
        "times": [config.log.time_unit, config.log.gap, config.log.time_column is not None],
        "reading": log.key(),
        "null_ids": [log.settings.null_ids, log.settings.null_times, *log.settings.missing],
        "buckets": [count, "items that users have first, ties of items"],
        "protection": [config.protection.protect, config.protection.event_column, config.protection.events],
    }
    decision = [config.decision.record(), config.protection.protect_last, plan.explained]
    judged_key = cache_name({"split": split_key, "scorer": scorer.key(), "decision": decision, "found": "streams"})
    # Whoever is done first removes what both would need.
    with one_at_a_time(config.run.cache, f"parts-{digest(split_key)[:32]}", "the same log in parts", reporter):
        folder = made(
            "buckets",
            split_key,
            lambda draft: buckets.split(log, config.protection, count, {"log": content}, draft, reporter),
            config,
            reporter,
        )
        facts = known_manifest(folder).facts
        warn_of_stand_ins(facts["stand_ins"], log.num_rows, reporter)
        ties = Ties(**facts["ties"])
        ties.tell(log.roles.time, reporter)
        if config.protection.protect is not None:
            warn_of_none(facts["held"], config.protection, reporter)
        split = buckets.Split(folder, log.name, count, config.log.gap, ties)
        judged = folder.with_name(f"judged-{folder.name}-{judged_key}")
        judged.mkdir(exist_ok=True)
        judging = Judging(split, scorer, judged, log.num_rows, config, plan.explained)
        files = judging.files
        known = [judging.known(number, reporter) for number in range(count)]
        todo = [number for number, facts in enumerate(known) if facts is None]
        if todo:
            scorer.prepare(split)
        with reporter.stage("score", log.num_rows, "rows") as stage:
            stage.advance(sum(facts["rows"] for facts in known if facts is not None))
            # Of those that teach the scores are known in this process alone.
            for number in filter(scorer.knows, todo):
                stage.advance(judging.judge(number))
            for _, rows in engine.each(judging.judge, [number for number in todo if not scorer.knows(number)]):
                stage.advance(rows)
        # Whatever is left to judge, all buckets are judged by the same.
        shares = known_manifest(files[0].parent).facts["shares"]
        warn_of_no_fit(shares, reporter)
        rule = verdicts.rule_of(files, log.num_rows, split, config)
        summary = {**verdicts.summary(files, rule, log.num_rows, split), **noise_shares(shares)}
        refusal = gate(summary["removed"], log.num_rows, config)
        summary["refused"] = refusal and refusal.message
        workspace.check_unchanged()
        if refusal is None and plan.written:
            _write(workspace, files, rule, plan)
            # With the buckets what was found in them, by other settings too, is of no more use.
            for place in (*folder.parent.glob(f"judged-{folder.name}-*"), folder):
                shutil.rmtree(place)
    return DenoisedParts(summary, config.decision.cutoff, wishes(config.protection), refusal)


def _write(workspace: PartedWorkspace, files: list[Path], rule: verdicts.Rule, plan: OutputPlan) -> None:
    decided = Found(files, {**verdicts.MISSING, **(verdicts.MISSING_WHY if plan.explained else {})})
    log = workspace.log
    with (
        plan.staging.delivering(),
        ExitStack() as stack,
        workspace.reporter.stage("write", log.num_rows, "rows") as stage,
    ):
        output = stack.enter_context(plan.writing(log)) if plan.output else None
        removed = stack.enter_context(plan.writing_removed(log)) if plan.removed else None
        try:
            for piece in log.pieces(with_columns=not plan.stands(log)):
                first, rows = piece.first, piece.records.num_rows
                found = decided.rows(first, first + rows)
                found["row"] = np.arange(first, first + rows)
                gone, protected = rule.decide(found)
                keep = ~gone
                columns: dict[str, pa.Array] = {}
                if plan.explained:
                    by_wish = Protections(wishes(workspace.config.protection), found["by"], found["judged"])
                    reason = _reasons(found, Decisions(keep, protected, workspace.config.decision.cutoff, by_wish))
                    noise = pa.array(found["noise"], mask=np.isnan(found["noise"]))
                    columns = {"noise_score": noise, "keep": pa.array(keep), "reason": reason}
                if removed:
                    removed(piece, ~keep, {name: columns[name].filter(pa.array(~keep)) for name in REMOVED})
                if output and plan.annotate:
                    output(piece, np.ones(rows, dtype=bool), {name: columns[name] for name in ANNOTATED})
                elif output:
                    output(piece, keep, {})
                stage.advance(rows)
        finally:
            # Rows were decided on by their numbers, which mean nothing in a log that was changed since, if it can be
            # read at all. Outputs appear at the end of the block.
            workspace.check_unchanged()
        plan.check_again(log.source)


def _reasons(found: dict[str, np.ndarray], decisions: Decisions) -> pa.Array:
    told = outcomes(found["noise"], decisions)
    rows = list(told)
    why = Whys(
        np.stack([found["said_0"][rows], found["said_1"][rows]], axis=1),
        np.stack([found["below_0"][rows], found["below_1"][rows]], axis=1),
        found["value"][rows],
    )
    return pa.array(reasons(found["status"], decisions, told, why), pa.string())
