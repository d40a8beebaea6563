"""Make docs/terminal.svg: the main command on the example log, as it stands on a terminal when it is done.

    python docs/picture.py

The command runs in a pseudo-terminal with an empty cache; what it leaves on the screen becomes the picture.
"""

import fcntl
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
SHOWN = "iadsr denoise examples/shop.csv -o clean.csv"
WIDTH, HEIGHT = 96, 50
THEME = TerminalTheme(
    (30, 32, 40),
    (215, 218, 226),
    [(30, 32, 40), (224, 108, 117), (129, 199, 132), (229, 192, 123),
     (97, 175, 239), (198, 120, 221), (86, 190, 200), (215, 218, 226)],
    [(110, 115, 130), (224, 108, 117), (129, 199, 132), (229, 192, 123),
     (97, 175, 239), (198, 120, 221), (86, 190, 200), (255, 255, 255)],
)  # fmt: skip
# Rich's own template loads a font from a server; this one takes what the reader has.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>iadsr denoise on the example log</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-size: 18px; font-family: system-ui, Helvetica, Arial, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""  # noqa: E501
_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)|\x1b")


def run(arguments: list[str], environment: dict[str, str], folder: Path) -> str:
    """Return all that a command writes to a terminal."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execvpe(arguments[0], arguments, environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    written = bytearray()
    while True:
        try:
            block = os.read(terminal, 65536)
        except OSError:  # Linux says "input/output error" at the end
            break
        if not block:
            break
        written += block
    _, status = os.waitpid(process, 0)
    if status:
        sys.exit(f"{' '.join(arguments)} failed:\n{written.decode()}")
    return written.decode()


def screen(written: str) -> list[str]:
    """Return the lines that stand on the screen, with their colours, after progress bars came and went."""
    lines, row = [""], 0
    for match in _CONTROL.finditer(written):
        parameters, control, end, text = match.groups()
        if text:
            lines[row] += text
        elif end == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif control == "m":
            lines[row] += match[0]
        elif control == "A":
            row = max(0, row - int(parameters or 1))
        elif control == "K":
            lines[row] = ""
    return [line.rstrip() for line in lines]


def main() -> None:
    """Run the command and write the picture."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IADSR_")}
    environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": str(WIDTH), "LINES": str(HEIGHT)}
    for unwanted in ("NO_COLOR", "FORCE_COLOR", "CI"):
        environment.pop(unwanted, None)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        environment["IADSR_CACHE_DIR"] = f"{folder}/cache"
        command = [sys.executable, "-m", "iadsr_cli", *SHOWN.split()[1:]]
        lines = screen(run(command, environment, Path(folder)))
    while lines and not re.sub(r"\x1b\[[0-9;]*m", "", lines[-1]).strip():
        lines.pop()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True, legacy_windows=False)
        console.print(Text.assemble(("$ ", "bold green"), (SHOWN, "bold")))
        for line in lines:
            console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
        picture = console.export_svg(title="iadsr", theme=THEME, code_format=SVG, unique_id="iadsr")
    (ROOT / "docs" / "terminal.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
