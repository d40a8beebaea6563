"""Every setting, declared once: type, default, help and bounds.

The command-line options, the TOML file, the environment variables, the checks and the manifests are all made from
these dataclasses. No torch here: `iadsr --help` reads this module.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iadsr_cli.errors import UsageError
from iadsr_cli.settings import SHARE, Settings, check_choice, option_name, parse_pause, parse_share, setting

FORMATS = ("auto", "csv", "tsv", "parquet", "jsonl")


@dataclass(frozen=True)
class LogSettings(Settings):
    """How to read a log and which of its columns play which role."""

    user_column: str | None = setting(
        None, "Column with the user (or session) id; found by its usual names.", metavar="NAME"
    )
    item_column: str | None = setting(None, "Column with the item id; found by its usual names.", metavar="NAME")
    time_column: str | None = setting(
        None, 'Column to order each user\'s rows by; "none" for file order. Found by its usual names.', metavar="NAME"
    )
    text_column: tuple[str, ...] = setting(
        (),
        'Column with the item\'s text; repeat to join several; "none" to use no text. Found by its usual names.',
        metavar="NAME",
    )
    time_unit: str = setting(
        "auto",
        "Unit of a numeric time column; auto takes that in which its numbers are dates of 1980 to 2099.",
        choices=("auto", "s", "ms", "us", "ns"),
        metavar="UNIT",
    )
    session_gap: str | None = setting(
        None,
        "Take what a user does without a pause longer than this, such as 30m, 2h or 1d, as a history of its own.",
        metavar="PAUSE",
    )
    format: str = setting(
        "auto",
        "Format of the input; found by its extension.",
        choices=FORMATS,
        metavar="FORMAT",
    )
    delimiter: str | None = setting(
        None, "What separates the fields of a delimited text file, such as ';' or '::'.", metavar="TEXT"
    )
    encoding: str = setting("utf-8", "Character encoding of a text file.", metavar="NAME")
    header: bool = setting(True, "Whether the first line of a delimited file names its columns.")
    columns: str | None = setting(
        None,
        "Column names of a file without a header: 'user_id,item_id,rating'; 'user_id,item_id,...' numbers the others.",
        metavar="NAMES",
    )
    quote_char: str = setting(
        '"',
        'What fields of a delimited text file are quoted with; "none" if quotes are characters like all others.',
        metavar="CHAR",
    )
    decimal: str = setting(
        ".",
        "What stands before the fraction of a number in a delimited text file, for times and conditions.",
        choices=(".", ","),
        metavar="CHAR",
    )
    null_values: str | None = setting(
        None,
        "Texts that stand for a missing id, time or item text, besides the empty one: 'NA,\\N'.",
        metavar="TEXTS",
    )
    null_ids: str = setting(
        "error",
        "What to do with rows whose user or item id is missing: stop, or keep them unscored.",
        choices=("error", "keep"),
        metavar="WHAT",
    )
    null_times: str = setting(
        "error",
        "What to do with rows whose time is missing: stop, or keep them unscored.",
        choices=("error", "keep"),
        metavar="WHAT",
    )

    def __post_init__(self) -> None:
        """Check the bounds, and that the gap between sessions is a pause."""
        super().__post_init__()
        _ = self.gap

    @property
    def gap(self) -> float | None:
        """Seconds of the pause that ends a session, or None where users are not split into sessions."""
        return None if self.session_gap is None else parse_pause(self.session_gap, "--session-gap")

    @property
    def whose(self) -> str:
        """What each history is called to be of, to people."""
        return "user" if self.session_gap is None else "session"

    @property
    def missing(self) -> tuple[str, ...]:
        """The texts that stand for a missing value."""
        return ("", *(text.strip() for text in (self.null_values or "").split(",")))


@dataclass(frozen=True)
class ItemsSettings(Settings):
    """How the file of --items is written, where it is not written as the log is, and its item column."""

    items_item_column: str | None = setting(
        None,
        "Column with the item id in the --items file; found by the log's name for it, its usual names, or id.",
        metavar="NAME",
    )
    items_delimiter: str | None = setting(
        None, "What separates the fields of the --items file, if not what separates the log's.", metavar="TEXT"
    )
    items_columns: str | None = setting(
        None,
        "Column names of an --items file without a header: 'item_id,title,genres'; 'item_id,title,...' numbers the "
        "others.",
        metavar="NAMES",
    )
    items_encoding: str | None = setting(
        None, "Character encoding of the --items file, if not that of the log.", metavar="NAME"
    )

    def of(self, log: LogSettings) -> LogSettings:
        """Return how to read the items of a log that is read so: its format, header and columns do not matter."""
        return replace(
            log,
            item_column=self.items_item_column,
            format="auto",
            header=self.items_columns is None,
            columns=self.items_columns,
            delimiter=self.items_delimiter or log.delimiter,
            encoding=self.items_encoding or log.encoding,
        )


@dataclass(frozen=True)
class EncoderSettings(Settings):
    """How item texts become semantic vectors."""

    encoder: str = setting(
        "auto",
        "auto, minilm, tfidf, vectors:FILE.parquet, api:URL#model, or any sentence-transformers name or folder.",
        metavar="NAME",
    )
    encoder_prompt: str | None = setting(
        None, "Text put before every item text, for encoders that expect one.", metavar="TEXT"
    )
    encoder_dtype: str = setting(
        "float32", "Precision of the encoder's weights.", choices=("float32", "float16", "bfloat16"), metavar="TYPE"
    )
    encoder_batch_size: int = setting(64, "Item texts per encoder batch.", low=1, recorded=False)
    encoder_revision: str | None = setting(None, "Revision (branch, tag or commit) of a hub model.", metavar="NAME")
    encoder_dimension: int | None = setting(
        None, "Keep only this many dimensions of each vector (tfidf: 256 by default).", low=2
    )
    api_key_file: str | None = setting(
        None, "File with the key of an api: encoder; else OPENAI_API_KEY is used.", recorded=False, metavar="FILE"
    )

    @property
    def vectors_file(self) -> str | None:
        """The file of `vectors:FILE`, or None for any other encoder."""
        kind, _, rest = self.encoder.partition(":")
        return rest or None if kind == "vectors" else None


@dataclass(frozen=True)
class BackboneSettings(Settings):
    """The sequential recommender: its kind and its size."""

    backbone: str = setting(
        "gru4rec", "Sequential recommender.", choices=("gru4rec", "sasrec", "caser"), metavar="NAME"
    )
    embedding_size: int = setting(64, "Item embedding size D.", low=1)
    hidden_size: int | None = setting(None, "Size H of the recommender's states (sasrec: D, others: 128).", low=1)
    layers: int | None = setting(None, "Layers of gru4rec (1) or sasrec (2).", low=1, high=16)
    heads: int = setting(2, "Attention heads of sasrec.", low=1)
    dropout: float = setting(0.3, "Dropout while training.", low=0, high=0.95)
    window: int = setting(50, "Longest stretch of a history that the recommender sees at once (T).", low=2)

    def __post_init__(self) -> None:
        """Check the bounds, and that attention heads share the state evenly."""
        super().__post_init__()
        if self.backbone == "sasrec" and self.resolved_hidden_size % self.heads:
            raise UsageError(
                f"--heads is {self.heads}, which does not divide the hidden size {self.resolved_hidden_size}.",
                "Give a divisor of it.",
            )

    def record(self) -> dict[str, Any]:
        """Return the settings as plain values, the backbone's own defaults filled in."""
        return {**super().record(), "hidden_size": self.resolved_hidden_size, "layers": self.resolved_layers}

    @property
    def resolved_hidden_size(self) -> int:
        """H, with the backbone's own default."""
        return self.hidden_size or (self.embedding_size if self.backbone == "sasrec" else 128)

    @property
    def resolved_layers(self) -> int:
        """Layers, with the backbone's own default."""
        return self.layers or (2 if self.backbone == "sasrec" else 1)


@dataclass(frozen=True)
class PretrainSettings(Settings):
    """The first stage of training: the recommender alone."""

    pretrain_epochs: int | None = setting(
        None,
        "Most epochs of pretraining; validation may stop it earlier (40, up to 120 where epochs have few steps).",
        low=1,
        metavar="N",
    )
    pretrain_learning_rate: float = setting(2e-3, "Step size of AdamW while pretraining.", low=1e-9, high=1)
    hold_out: int = setting(
        2,
        "Last interactions of a user kept out of training: the first of them validates, a second one tests.",
        low=1,
        high=2,
    )


@dataclass(frozen=True)
class AlignSettings(Settings):
    """The second stage of training: recommender and semantic vectors together."""

    align_epochs: int = setting(10, "Most epochs of alignment; validation may stop it earlier.", low=1)
    align_learning_rate: float = setting(2e-3, "Step size of AdamW while aligning.", low=1e-9, high=1)
    temperature: float = setting(0.1, "Temperature of the InfoNCE losses.", low=1e-3)
    gumbel_tau: float = setting(1.0, "Temperature tau of the mask's Gumbel-sigmoid.", low=1e-3)


@dataclass(frozen=True)
class LoopSettings(Settings):
    """What both stages of training share."""

    batch_size: int = setting(128, "Sequences per training batch.", low=1)
    patience: int | None = setting(
        None,
        "Epochs without a better validation score before training stops (4, up to 12 in pretraining where epochs have "
        "few steps).",
        low=1,
        metavar="N",
    )
    precision: str = setting(
        "auto",
        "Number type of the softmax's products; auto takes bfloat16 where the processor has it.",
        choices=("auto", "float32", "bfloat16"),
    )
    loss: str = setting(
        "auto",
        "Softmax over all items, or over sampled ones; auto samples beyond 50,000 items.",
        choices=("auto", "full", "sampled"),
    )
    negatives: int = setting(4096, "Items drawn per batch for the sampled loss.", low=1)
    item_table: str = setting(
        "auto",
        "Where item embeddings are kept while the sampled loss trains them; auto takes the host where they would fill "
        "half of a GPU's memory.",
        choices=("auto", "device", "host"),
        recorded=False,
        metavar="WHERE",
    )


METHODS = ("crossfit", "iadsr")


@dataclass(frozen=True)
class DecisionSettings(Settings):
    """Which scored rows are removed."""

    method: str = setting(
        METHODS[0],
        "How rows are scored: by evidence from other users' histories, or by IADSR as published, which trains a "
        "recommender.",
        choices=METHODS,
        metavar="NAME",
    )
    judges: int | None = setting(
        None,
        "How often the default method judges a log, each time anew, for the mean; by default 3 times up to 200,000 "
        "rows, twice up to 300,000, and once beyond.",
        low=1,
        high=99,
    )
    threshold: float = setting(
        0.5,
        "Remove rows whose noise score is above this (0 to 1; higher removes fewer).",
        low=0,
        high=1,
        metavar="SCORE",
    )
    budget: str | None = setting(
        None,
        "Instead of the threshold: remove this share of all rows, the most suspicious first, such as 5%.",
        metavar=SHARE,
    )
    max_user_share: float = setting(
        0.3,
        "Never remove more than this share of one user's rows; bots, see --whole-users, aside.",
        low=0,
        high=1,
        metavar=SHARE,
    )
    min_user_rows: int = setting(3, "Never leave a user with fewer rows than this by removing; bots aside.", low=0)
    min_item_rows: int = setting(
        1,
        "Never leave an item with fewer rows than this by removing, and with a threshold, ask more of a row the fewer "
        "rows its item has; rows of bots, see --whole-users, aside.",
        low=0,
    )
    whole_users: bool = setting(
        True,
        "Remove more, up to all rows, of a user with 20 rows or more of which 90% score above 0.5, as a bot's do.",
    )

    def __post_init__(self) -> None:
        """Check the bounds, and that the budget is a share."""
        super().__post_init__()
        if self.budget is not None:
            parse_share(self.budget, "--budget")

    @property
    def cutoff(self) -> float | None:
        """The noise score above which rows are to go, or None under a budget."""
        return self.threshold if self.budget is None else None


@dataclass(frozen=True)
class ProtectionSettings(Settings):
    """Which rows of a log stay whatever their score, and how many may go at all."""

    protect_last: int = setting(0, "Never remove the last N interactions of a user.", low=0)
    protect: str | None = setting(
        None,
        "Never remove rows for which this holds: 'event == \"buy\"', 'rating >= 4 and `unit price` < 10'.",
        metavar="EXPR",
    )
    event_column: str | None = setting(None, "Column that says what happened, for --events.", metavar="NAME")
    events: str | None = setting(
        None,
        "Judge only rows with one of these events, such as view,click; all others stay, and count as history.",
        metavar="NAMES",
    )
    max_removed: str | None = setting(
        None,
        "Write nothing and end with exit code 3 if more than this share of all rows would go, such as 20%.",
        metavar=SHARE,
    )

    def __post_init__(self) -> None:
        """Check the bounds, that the most that may go is a share, and that events have a column."""
        super().__post_init__()
        if self.max_removed is not None:
            parse_share(self.max_removed, "--max-removed")
        if self.events is not None and self.event_column is None:
            raise UsageError(
                f"--events {self.events} was given without the column that holds events.",
                "Name it with --event-column.",
            )


NOISE_KINDS = (
    "insert-uniform",
    "insert-popular",
    "insert-timely",
    "insert-similar",
    "insert-burst",
    "insert-account",
    "replace-uniform",
    "replace-history",
)
SCORERS = (
    "random",
    "popularity",
    "text",
    "co-occurrence",
    "svd",
    "backbone",
    "collaborative",
    "semantic",
    "iadsr",
    "crossfit",
)
# Those that train a recommender first.
TRAINED_SCORERS = ("backbone", "collaborative", "semantic", "iadsr")
RECOMMENDERS = ("neighbours", "backbone")


@dataclass(frozen=True)
class StudySettings(Settings):
    """What `evaluate` compares."""

    quick: bool = setting(
        False,
        "Minutes, not hours: one kind of noise, one seed, what needs no training, and short training where asked for.",
    )
    scorer: tuple[str, ...] = setting(
        (), f"Compare these scorers; repeat for several; all of them: {', '.join(SCORERS)}.", metavar="NAME"
    )
    noise: tuple[str, ...] = setting(
        (), f"Inject this kind of noise; repeat for several; all of them: {', '.join(NOISE_KINDS)}.", metavar="KIND"
    )
    noise_share: tuple[str, ...] = setting(
        ("10%",), "Inject this much, in noise rows per row of the histories; repeat for several.", metavar=SHARE
    )
    ranking_noise: tuple[str, ...] = setting(
        (), "Also ask whether cleaning helps after this much uniform noise was injected, such as 30%.", metavar=SHARE
    )
    recommender: tuple[str, ...] = setting(
        (),
        f"Ask whether cleaning helps this recommender; repeat for both: {', '.join(RECOMMENDERS)} (see --backbone).",
        metavar="NAME",
    )
    seeds: int | None = setting(
        None, "Seeds of noise, training and random removal, from --seed on (3; with --quick 1).", low=1, high=100
    )
    label: str | None = setting(
        None,
        "A column that says which rows are noise (is_noise), or a condition ('rating<=2'); no model sees it.",
        metavar="LABEL",
        alias="--label-column",
    )

    def __post_init__(self) -> None:
        """Check the bounds, names and shares."""
        super().__post_init__()
        for option, values, choices in (
            ("--scorer", self.scorer, SCORERS),
            ("--noise", self.noise, NOISE_KINDS),
            ("--recommender", self.recommender, RECOMMENDERS),
        ):
            for value in values:
                check_choice(option, value, choices)
        for option, shares in (("--noise-share", self.noise_share), ("--ranking-noise", self.ranking_noise)):
            for share in shares:
                if not 0 < parse_share(share, option) < 1:
                    raise UsageError(f'{option} cannot be "{share}".', "Give a share between 0 and 1, such as 10%.")

    def resolved(self, method: str) -> "StudySettings":
        """Return the settings with what was left open filled in, for a study of a `--method`."""
        untrained = tuple(name for name in SCORERS if name not in TRAINED_SCORERS or name == method)
        return replace(
            self,
            scorer=self.scorer or (untrained if self.quick else SCORERS),
            noise=self.noise or (NOISE_KINDS[:1] if self.quick else NOISE_KINDS),
            recommender=self.recommender or (RECOMMENDERS[:1] if self.quick else RECOMMENDERS),
            seeds=self.seeds or (1 if self.quick else 3),
        )

    def trains(self, method: str) -> bool:
        """Return whether a study of a `--method` trains a recommender."""
        made = self.resolved(method)
        return "backbone" in made.recommender or not {*TRAINED_SCORERS}.isdisjoint((method, *made.scorer))


@dataclass(frozen=True)
class RunSettings(Settings):
    """Where and how a run happens."""

    seed: int = setting(0, "Seed of every random choice.", low=0, high=2**32 - 1)
    device: str = setting(
        "auto", "Where to compute.", choices=("auto", "cpu", "cuda", "mps"), recorded=False, metavar="NAME"
    )
    cache_dir: str | None = setting(
        None,
        "Folder for vectors and models that later runs can reuse; the platform's user cache.",
        recorded=False,
        metavar="DIR",
    )

    @property
    def cache(self) -> Path:
        """The cache: `cache_dir`, else the platform's user cache."""
        if self.cache_dir is not None:
            return Path(self.cache_dir)
        from platformdirs import user_cache_path

        return user_cache_path("iadsr", appauthor=False)


@dataclass(frozen=True)
class PartsSettings(Settings):
    """Whether `denoise` takes a log into memory."""

    in_parts: str = setting(
        "auto",
        "Clean a log in parts on disk, in bounded memory: auto (where it would fill half of the memory), always or "
        "never.",
        choices=("auto", "always", "never"),
        recorded=False,
        metavar="WHEN",
    )


@dataclass(frozen=True)
class WorkerSettings(Settings):
    """How many train together; never recorded, as results do not depend on it beyond rounding and dropout."""

    devices: int = setting(
        1,
        "Devices of this machine that train together, a process on each: GPUs, or shares of the CPU.",
        low=1,
        recorded=False,
    )


ENGINES = ("local", "ray")


@dataclass(frozen=True)
class EngineSettings(Settings):
    """Who does work that comes in pieces; never recorded, as results do not depend on it."""

    engine: str = setting(
        ENGINES[0],
        "Who works: this process, or actors of Ray (the extra ray of iadsr); denoise then cleans a log in parts.",
        choices=ENGINES,
        recorded=False,
        metavar="NAME",
    )
    ray_address: str | None = setting(
        None,
        "Running Ray cluster to use, such as 10.0.0.1:6379; without, one is started on this machine.",
        recorded=False,
        metavar="ADDRESS",
    )
    actors: int | None = setting(
        None, "Actors that work at once, each on one CPU; as many as the cluster has room for.", low=1, recorded=False
    )
    num_gpus_per_actor: float = setting(0.0, "GPUs of each actor; a part of one is possible.", low=0, recorded=False)

    def __post_init__(self) -> None:
        """Check the bounds, that GPUs can be handed out so, and that nothing is said of actors where there are none."""
        super().__post_init__()
        if self.num_gpus_per_actor > 1 and self.num_gpus_per_actor % 1:
            raise UsageError(
                f"--num-gpus-per-actor is {self.num_gpus_per_actor}.", "Give a part of one GPU, or a whole number."
            )
        if self.engine == "local":
            for name in ("ray_address", "actors", "num_gpus_per_actor"):
                if getattr(self, name):
                    raise UsageError(
                        f"{option_name(name)} has no use without --engine ray.", "Add --engine ray, or leave it out."
                    )


@dataclass(frozen=True)
class Config:
    """All settings of a run, by group."""

    log: LogSettings = LogSettings()
    items: ItemsSettings = ItemsSettings()
    encoder: EncoderSettings = EncoderSettings()
    backbone: BackboneSettings = BackboneSettings()
    pretrain: PretrainSettings = PretrainSettings()
    align: AlignSettings = AlignSettings()
    loop: LoopSettings = LoopSettings()
    decision: DecisionSettings = DecisionSettings()
    protection: ProtectionSettings = ProtectionSettings()
    study: StudySettings = StudySettings()
    run: RunSettings = RunSettings()
    parts: PartsSettings = PartsSettings()
    workers: WorkerSettings = WorkerSettings()
    engine: EngineSettings = EngineSettings()
