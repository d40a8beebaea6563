"""Settings: one declaration, checked wherever they come from; TOML, then environment, then options."""

from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from iadsr_cli.cli.groups import GROUPS
from iadsr_cli.cli.options import command
from iadsr_cli.cli.settings_file import read_config
from iadsr_cli.config import BackboneSettings, Config, DecisionSettings, LogSettings, RunSettings, StudySettings
from iadsr_cli.errors import InputError, UsageError
from iadsr_cli.settings import option_name, parse_share

EVERY_SETTING = [(kind, item) for kind, _ in GROUPS.values() for item in fields(kind)]


@pytest.mark.parametrize(("kind", "item"), EVERY_SETTING, ids=lambda value: getattr(value, "name", ""))
def test_every_setting_is_declared_whole(kind: Any, item: Any) -> None:
    assert item.metadata["help"].endswith(".")
    default = getattr(kind(), item.name)
    assert default is None or isinstance(default, str | int | float | tuple)
    for bound in ("low", "high"):
        if item.metadata[bound] is not None and default is not None:
            kind(**{item.name: type(default)(item.metadata[bound])})
            beyond = item.metadata[bound] + (-1 if bound == "low" else 1)
            with pytest.raises(UsageError, match=option_name(item.name)):
                kind(**{item.name: beyond})
    if item.metadata["choices"]:
        for choice in item.metadata["choices"]:
            kind(**{item.name: choice})
        with pytest.raises(UsageError, match="cannot be"):
            kind(**{item.name: "no such choice"})


def test_no_two_settings_share_a_name() -> None:
    names = [item.name for _, item in EVERY_SETTING]
    assert len(names) == len(set(names))
    assert set(GROUPS) == {item.name for item in fields(Config)}


def test_errors_name_the_option_the_value_and_what_is_allowed() -> None:
    with pytest.raises(UsageError) as caught:
        BackboneSettings(dropout=0.99)
    assert str(caught.value) == "--dropout is 0.99.\nGive a number that is at least 0 and at most 0.95."
    with pytest.raises(UsageError) as caught:
        RunSettings(device="cdua")
    assert str(caught.value) == '--device cannot be "cdua".\nAllowed: auto, cpu, cuda, mps. Nearest: cuda.'


def test_records_hold_what_can_change_a_result() -> None:
    assert RunSettings(seed=3, device="cpu", cache_dir="x").record() == {"seed": 3}
    assert LogSettings(text_column=("a", "b")).record()["text_column"] == ["a", "b"]


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), (" 5 %", 0.05), ("0.05", 0.05), ("0", 0), ("100%", 1)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text, "--budget") == share


@pytest.mark.parametrize("text", ["x", "", "%", "-1%", "101%", "1.5", "nan", "inf", "5%%"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(UsageError, match="--budget cannot be"):
        DecisionSettings(budget=text)


# Where settings come from.


def resolve(*arguments: object, **environment: str) -> Any:
    """Return the Config that a command line gives, or the result where it is refused."""
    app = typer.Typer()
    seen: list[Config] = []

    @app.callback()
    def _root() -> None:
        pass

    @command(app, "denoise", "x", tuple(GROUPS))
    def denoise(config: Config, face: object, staging: object) -> None:
        seen.append(config)

    result = CliRunner().invoke(app, ["denoise", *map(str, arguments)], env={"COLUMNS": "200", **environment})
    return seen[0] if seen else result


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "iadsr.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_without_anything_the_defaults_hold() -> None:
    assert resolve() == Config()


def test_later_wins(toml: Any) -> None:
    path = toml("seed = 1\nmax-user-share = 0.1\nbudget = '1%'\n")
    assert resolve("--config", path).run.seed == 1
    config = resolve("--config", path, "--seed", 3, IADSR_SEED="2", IADSR_MAX_USER_SHARE="0.2")
    assert (config.run.seed, config.decision.max_user_share, config.decision.budget) == (3, 0.2, "1%")
    assert resolve(IADSR_CONFIG=str(path)).run.seed == 1
    # An option that is given its default still wins.
    assert resolve("--config", path, "--seed", 0, IADSR_SEED="2").run.seed == 0


def test_a_command_s_table_wins_over_the_top_and_others_do_not_count(toml: Any) -> None:
    path = toml("seed = 1\nlayers = 2\n[denoise]\nseed = 4\n[pretrain]\nlayers = 5\n")
    config = resolve("--config", path)
    assert (config.run.seed, config.backbone.layers) == (4, 2)


def test_every_type_comes_through(toml: Any) -> None:
    path = toml(
        "text-column = ['title', 'brand']\nheader = false\ncolumns = 'a,b'\ndropout = 0\nuser_column = 'who'\n"
        "encoder-dimension = 8\n"
    )
    config = resolve("--config", path)
    assert config.log == LogSettings(text_column=("title", "brand"), header=False, columns="a,b", user_column="who")
    assert config.backbone.dropout == 0
    assert config.encoder.encoder_dimension == 8
    config = resolve(IADSR_TEXT_COLUMN="title brand", IADSR_HEADER="no", IADSR_ENCODER_DIMENSION="8")
    assert config.log.text_column == ("title", "brand")
    assert config.log.header is False
    assert config.encoder.encoder_dimension == 8
    assert resolve("--text-column", "a", "--text-column", "b", "--no-header").log.text_column == ("a", "b")


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("sed = 1", 'has a setting "sed", which no command knows.', "Did you mean seed or seeds?"),
        ("[denoise]\nsed = 1", 'has a setting "sed"', "Did you mean seed or seeds?"),
        ("[pretrain]\nsed = 1", 'has a setting "sed"', "Did you mean seed or seeds?"),
        ("qqqqq = 1", 'has a setting "qqqqq"', "Settings are named as the options are"),
        ("[denoize]\nseed = 1", "has a table [denoize], which no command reads.", "denoise"),
        ("seed = '1'", "sets seed to '1'.", "Give it a whole number."),
        ("seed = 1.5", "sets seed to 1.5.", "Give it a whole number."),
        ("seed = true", "sets seed to true.", "Give it a whole number."),
        ("dropout = 'x'", "sets dropout to 'x'.", "Give it a number."),
        ("budget = true", "sets budget to true.", 'Give it a share, such as "5%" or 0.05.'),
        ("budget = 5", '--budget cannot be "5".', "Give a share such as 5% or 0.05."),
        ("max-user-share = []", "sets max-user-share to [].", 'Give it a share, such as "5%" or 0.05.'),
        ("max-user-share = '200%'", '--max-user-share cannot be "200%".', "Give a share such as 5% or 0.05."),
        ("noise-share = 0.1", "sets noise-share to 0.1.", 'Give it a list of shares, such as ["5%", 0.1].'),
        ("noise-share = [false]", "sets noise-share to [False].", "Give it a list of shares"),
        ("no-header = 'x'", "sets no-header to 'x'.", "Give it true or false."),
        ("no-seed = true", 'has a setting "no-seed"', "Did you mean"),
        ("no-header = true\nheader = true", "sets --header twice, differently.", "Leave one of them out."),
        ("api-key-file = ''", "The name of --api-key-file is empty.", "Give one."),
        ("header = 'no'", "sets header to 'no'.", "Give it true or false."),
        ("text_column = 'title'", "sets text_column to 'title'.", 'Give it a list of texts, such as ["title"].'),
        ("text_column = [1]", "sets text_column to [1].", "Give it a list of texts"),
        ("dropout = nan", "--dropout is nan.", "at most 0.95"),
        ("dropout = 0.99", "--dropout is 0.99.", "at most 0.95"),
        ("device = 'cdua'", '--device cannot be "cdua".', "Nearest: cuda."),
    ],
)
def test_a_wrong_setting_in_toml(toml: Any, text: str, error: str, hint: str) -> None:
    result = resolve("--config", toml(text))
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: ")
    assert error in lines[0]
    assert lines[1].startswith("hint: ")
    assert hint in lines[1]


@pytest.mark.parametrize(
    "content", [b"seed = ", b"\xff\xfe", b"seed = 1\nseed = 2", b"a = 1" + b"0" * 5000, b"a = " + b"[" * 2000]
)
def test_what_is_no_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "iadsr.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"iadsr\.toml cannot be read as TOML"):
        read_config(path, "denoise")
    assert resolve("--config", path).exit_code == 1


def test_a_config_file_that_is_missing(tmp_path: Path) -> None:
    result = resolve("--config", tmp_path / "none.toml")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-2:] == [
        f"error: {tmp_path / 'none.toml'} does not exist.",
        "hint: Name another file with --config.",
    ]


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("IADSR_SEED", "x", "Give a whole number."),
        ("IADSR_DROPOUT", "x", "Give a number."),
        ("IADSR_HEADER", "x", "Give true or false."),
    ],
)
def test_a_wrong_setting_in_the_environment_is_called_by_its_name(name: str, value: str, hint: str) -> None:
    from iadsr_cli.cli.app import app

    result = CliRunner().invoke(app, ["denoise", "a.csv"], env={"COLUMNS": "200", name: value})
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f'error: {name} in the environment cannot be "{value}".', f"hint: {hint}"]


def test_every_share_can_be_a_percentage_or_a_number(toml: Any) -> None:
    for text in ("20%", "0.2"):
        config = resolve("--max-user-share", text)
        assert config == resolve(IADSR_MAX_USER_SHARE=text) == resolve("--config", toml(f"max-user-share = '{text}'"))
        assert config.decision.max_user_share == 0.2
    config = resolve(
        "--config",
        toml("max-user-share = 0.1\nbudget = 0.05\nmax-removed = 1\nnoise-share = [0.3, '5%']\nranking-noise = [0.2]"),
    )
    assert (config.decision.max_user_share, parse_share(config.decision.budget, "")) == (0.1, 0.05)
    assert parse_share(config.protection.max_removed, "") == 1
    assert (config.study.noise_share, config.study.ranking_noise) == (("0.3", "5%"), ("0.2",))
    for text in ("21", "-1%", "x", ""):
        result = resolve("--max-user-share", text)
        assert result.exit_code == 2
        assert result.stderr.splitlines() == [
            f'error: --max-user-share cannot be "{text}".',
            "hint: Give a share such as 5% or 0.05.",
        ]


def test_flags_can_be_named_by_their_negation(toml: Any) -> None:
    assert resolve(IADSR_NO_HEADER="1", IADSR_NO_WHOLE_USERS="true").log.header is False
    assert resolve(IADSR_NO_WHOLE_USERS="yes").decision.whole_users is False
    assert resolve(IADSR_NO_HEADER="0").log.header is True
    assert resolve(IADSR_NO_HEADER="").log.header is True
    path = toml("no-header = true\n[denoise]\nno_whole_users = true")
    config = resolve("--config", path)
    assert (config.log.header, config.decision.whole_users) == (False, False)
    assert resolve("--config", toml("header = true\n[denoise]\nno-header = true")).log.header is False
    # Later wins, whichever it is.
    path = toml("no-header = true")
    assert resolve("--config", path, IADSR_NO_HEADER="0").log.header is True
    assert resolve("--config", path, IADSR_HEADER="1").log.header is True
    assert resolve("--header", IADSR_NO_HEADER="1").log.header is True
    assert resolve(IADSR_NO_HEADER="1", IADSR_HEADER="0").log.header is False


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("title  brand", ("title", "brand")),
        ("'item title' brand", ("item title", "brand")),
        ('"item\'s title"', ("item's title",)),
        (r"item\ title #1", ("item title", "#1")),
        ("title,brand", ("title,brand",)),
        (" ", ()),
        ("", ()),
    ],
)
def test_several_values_in_the_environment_are_split_as_by_a_shell(toml: Any, text: str, names: Any) -> None:
    assert resolve(IADSR_TEXT_COLUMN=text).log.text_column == names
    path = toml("text-column = ['x y']")
    if names:
        assert resolve("--config", path, IADSR_TEXT_COLUMN=text).log.text_column == names
    assert resolve("--text-column", "a b", IADSR_TEXT_COLUMN=text).log.text_column == ("a b",)


def test_a_quote_in_the_environment_that_is_never_closed() -> None:
    result = resolve(IADSR_TEXT_COLUMN="item's title")
    assert result.exit_code == 2
    error, hint = result.stderr.splitlines()
    assert error == """error: IADSR_TEXT_COLUMN in the environment cannot be "item's title"."""
    assert hint.startswith("hint: Quote as for a shell: ")
    assert resolve("--text-column", "a", IADSR_TEXT_COLUMN="item's title").log.text_column == ("a",)


@pytest.mark.parametrize(
    ("environment", "error", "hint"),
    [
        ({"IADSR_NO_HEADER": "x"}, 'IADSR_NO_HEADER in the environment cannot be "x".', "Give true or false."),
        (
            {"IADSR_NO_HEADER": "1", "IADSR_HEADER": "1"},
            "IADSR_HEADER and IADSR_NO_HEADER in the environment contradict each other.",
            "Leave one of them out.",
        ),
    ],
)
def test_a_negation_in_the_environment_that_cannot_be(environment: dict[str, str], error: str, hint: str) -> None:
    result = resolve(**environment)
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [f"error: {error}", f"hint: {hint}"]


def test_what_is_no_setting_in_the_environment_is_warned_of(tmp_path: Path) -> None:
    from iadsr_cli.cli.app import app

    known = {"IADSR_SEED": "1", "IADSR_NO_HEADER": "0", "IADSR_PRETRAIN_EPOCHS": "1", "IADSR_QUIET": "0"}
    environment = {"COLUMNS": "200", **known, "_IADSR_COMPLETE": "", "IADSR_CACHE_DIR": str(tmp_path / "cache")}
    wrong = {"IADSR_SEEDD": "7", "IADSR_NO_HAEDER": "1", "IADSR_XYZ": "1"}
    result = CliRunner().invoke(app, ["denoise", str(tmp_path / "a.csv")], env={**environment, **wrong})
    assert result.stderr.splitlines()[:-2] == [
        "warning: IADSR_NO_HAEDER in the environment is no setting, and has no effect: did you mean IADSR_NO_HEADER?",
        "warning: IADSR_SEEDD in the environment is no setting, and has no effect: did you mean IADSR_SEED?",
        "warning: IADSR_XYZ in the environment is no setting, and has no effect.",
    ]
    assert result.exit_code == 1, "that the log does not exist"
    for options in ({}, {"IADSR_QUIET": "1", **wrong}):
        result = CliRunner().invoke(app, ["denoise", str(tmp_path / "a.csv")], env={**environment, **options})
        assert len(result.stderr.splitlines()) == 2


def test_what_a_study_leaves_open_is_filled_in() -> None:
    assert StudySettings().resolved("crossfit").seeds == 3
    assert StudySettings(quick=True).resolved("crossfit").seeds == 1
    assert StudySettings(quick=True, seeds=2).resolved("crossfit").seeds == 2, "as it was asked for"
    assert StudySettings(quick=True).resolved("iadsr").scorer[-2:] == ("iadsr", "crossfit")
    assert StudySettings(quick=True).resolved("crossfit").scorer[-2:] == ("svd", "crossfit")
    named = StudySettings(scorer=("text",), noise=("insert-burst",), recommender=("backbone",), seeds=5)
    assert named.resolved("crossfit") == named


NO_TRAINING = "no effect: --method crossfit trains no recommender; --method iadsr does."
NO_RECOMMENDER = "no effect: nothing here trains a recommender; --recommender backbone does, and so do some scorers."
READY = "no effect: --model was trained already, and scores by IADSR."


@pytest.mark.parametrize(
    ("words", "warnings"),
    [
        (["denoise", "--backbone", "sasrec"], [f"--backbone has {NO_TRAINING}"]),
        (
            ["denoise", "--loss", "full", "--window", "9", "--align-epochs", "2", "--hold-out", "1"],
            [f"--window, --hold-out, --align-epochs and --loss have {NO_TRAINING}"],
        ),
        (["denoise", "--devices", "2", "--in-parts", "never"], [f"--devices has {NO_TRAINING}"]),
        (["denoise", "--method", "iadsr", "--backbone", "sasrec"], []),
        (["denoise", "--threshold", "0.4", "--encoder", "tfidf"], []),
        (["denoise", "--method", "iadsr", "--heads", "1"], ["--heads has no effect: gru4rec has no attention."]),
        (["denoise", "--method", "iadsr", "--judges", "2"], ["--judges has no effect: --method iadsr judges once."]),
        (["denoise", "--judges", "2"], []),
        (["pretrain", "-o", "x", "--backbone", "sasrec", "--heads", "1", "--layers", "3"], []),
        (
            ["pretrain", "-o", "x", "--backbone", "caser", "--heads", "1", "--layers", "3"],
            [
                "--heads has no effect: caser has no attention.",
                "--layers has no effect: caser is one layer of convolutions.",
            ],
        ),
        (
            ["pretrain", "-o", "x", "--loss", "full", "--negatives", "9", "--item-table", "host"],
            ["--negatives and --item-table have no effect: --loss full draws no items and changes all in a step."],
        ),
        (
            ["denoise", "--model", "m", "--method", "crossfit", "--batch-size", "9"],
            [f"--method and --batch-size have {READY}"],
        ),
        (["denoise", "--model", "m", "--encoder", "tfidf", "--threshold", "0.4"], [f"--encoder has {READY}"]),
        (["evaluate", "--quick", "--backbone", "sasrec"], [f"--backbone has {NO_RECOMMENDER}"]),
        (["evaluate", "--quick", "--backbone", "sasrec", "--recommender", "backbone"], []),
        (["evaluate", "--quick", "--backbone", "sasrec", "--scorer", "semantic"], []),
        (["evaluate", "--quick", "--backbone", "sasrec", "--method", "iadsr"], []),
        (["evaluate", "--backbone", "sasrec"], []),
        (
            ["evaluate", "--backbone", "caser", "--layers", "2"],
            ["--layers has no effect: caser is one layer of convolutions."],
        ),
        (
            ["evaluate", "--label", "x", "--noise", "insert-burst"],
            ["--noise has no effect: with --label no noise is injected to be found."],
        ),
        (
            ["evaluate", "--model", "m", "--seeds", "2", "--threshold", "0.4", "--heads", "1"],
            ["--threshold, --seeds and --heads have no effect: --model is only ranked with."],
        ),
    ],
)
def test_options_without_an_effect_are_warned_of(words: list[str], warnings: list[str], tmp_path: Path) -> None:
    from iadsr_cli.cli.app import app

    settings = {"COLUMNS": "200", "IADSR_CACHE_DIR": str(tmp_path / "cache")}
    log = str(tmp_path / "a.csv")
    result = CliRunner().invoke(app, [words[0], log, *words[1:]], env=settings)
    assert result.exit_code == 1, "that a file does not exist"
    assert result.stderr.splitlines()[:-2] == [f"warning: {warning}" for warning in warnings]
    # What stands in the environment is for other runs, too.
    result = CliRunner().invoke(app, ["denoise", log], env={**settings, "IADSR_BACKBONE": "sasrec"})
    assert len(result.stderr.splitlines()) == 2


def test_every_setting_of_a_command_can_stand_in_toml_and_environment() -> None:
    """Types as declared are what TOML is checked against, so that no setting is left out."""
    for kind, item in EVERY_SETTING:
        assert get_type_hints(kind)[item.name] in {
            str,
            str | None,
            int,
            int | None,
            float,
            float | None,
            bool,
            tuple[str, ...],
        }
