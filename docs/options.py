"""Write the table of all options into options.md, made from the commands themselves.

python docs/options.py
"""

from pathlib import Path
from typing import Any

import typer

from iadsr_cli.cli.app import app

PAGE = Path(__file__).with_name("options.md")
START, END = "<!-- options: python docs/options.py -->\n", "<!-- end of options -->\n"
OWN = "The files of a command"


def table() -> str:
    """Return the options by panel of --help, each with the commands that have it, as Markdown."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    panels: dict[str, dict[tuple[str, str], list[str]]] = {OWN: {}}
    for name, command in commands.items():
        for option in command.params:
            if option.param_type_name != "option" or "--help" in option.opts:
                continue
            panel = panels.setdefault(getattr(option, "rich_help_panel", None) or OWN, {})
            panel.setdefault((_names(option), _meaning(option)), []).append(name)
    lines = []
    for title, options in panels.items():
        lines += [f"**{title}**", "", "| option | commands | meaning |", "|---|---|---|"]
        for (names, meaning), users in options.items():
            lines.append(f"| {names} | {'all' if len(users) == len(commands) else ', '.join(users)} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def _names(option: Any) -> str:
    names = " ".join(f"`{name}`" for name in sorted([*option.opts, *option.secondary_opts], key=len, reverse=True))
    return f"{names} {option.metavar or ''}".strip()


def _meaning(option: Any) -> str:
    text = option.help.rstrip(".").replace("|", "\\|")
    plain = option.default is None or isinstance(option.default, (bool, list, tuple))
    return f"{text}." if plain or not option.show_default else f"{text}; default `{option.default}`."


def rewritten(text: str) -> str:
    """Return the page with the table between its two markers made anew."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table()}{END}{after}"


def main() -> None:
    """Rewrite the table."""
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
