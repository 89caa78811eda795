"""Makes the pictures in docs/images: the terminal and the report of two runs of the flights, the second all cached.

    python docs/build_pictures.py

Needs the extras run and demo, and Chromium. They show what was printed and measured: close everything else.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from headrace.pipelines.cli.console import COLOURS
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PIPELINE = "examples/flights/pipeline.py"
WIDTH = 112
# In the space of a browser's window: all of the graph.
WINDOW = "1280,1480"


def run(project: Path) -> str:
    """Runs the pipeline as a user does, and gives what it prints, without the folder that is this script's own."""
    command = [sys.executable, "-m", "headrace.pipelines.cli", "run", PIPELINE]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    return done.stdout.replace(f"{project}/", "")


def terminal(printed: list[str]) -> str:
    """What was printed as SVG, in the colours that a terminal shows."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    for number, text in enumerate(printed):
        if number:
            console.print()
        console.print(Text(f"$ headrace run {PIPELINE}", style="bold"))
        for line in text.splitlines():
            word = re.match(rf"(  \w+ +)({'|'.join(COLOURS)})\b", line)
            painted = line if word is None else f"{word[1]}\x1b[{COLOURS[word[2]]}m{word[2]}\x1b[0m{line[word.end() :]}"
            console.print(Text.from_ansi(painted), soft_wrap=True)
    drawn = console.export_svg(title="headrace", unique_id="headrace")
    # The reader's own font, and nothing that a viewer would have to fetch.
    return re.sub(r",\s*url\([^)]*\) format\([^)]*\)", "", drawn)


def photograph(report: Path, picture: Path) -> None:
    """The top of the report as a browser shows it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is not installed: the picture of the report was not made")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WINDOW}"]
    command = [chromium, *options, f"--screenshot={picture}", report.as_uri()]
    subprocess.run(command, capture_output=True, check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        shutil.copytree(ROOT / "examples", project / "examples")
        (project / "pyproject.toml").touch()
        printed = [run(project), run(project)]
        (IMAGES / "terminal.svg").write_text(terminal(printed), encoding="utf-8")
        [first, _] = sorted((project / ".headrace" / "flights").glob("*/report.html"))
        first.write_text(first.read_text(encoding="utf-8").replace(f"{project}/", ""), encoding="utf-8")
        photograph(first, IMAGES / "report.png")
    print("\n".join(printed))


if __name__ == "__main__":
    main()
