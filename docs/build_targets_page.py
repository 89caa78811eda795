"""Writes docs/targets.md: what each target can express, from the tables that check and compile by.

python docs/build_targets_page.py            writes the page
python docs/build_targets_page.py --check    exits with 1 if it is not what would be written
"""

from __future__ import annotations

import sys
from pathlib import Path

from headrace.kubeflow.compile import target_of
from headrace.kubeflow.portability import CONSTRUCTS, Support

PAGE = Path(__file__).parent / "targets.md"
INTRODUCTION = """# What each target can express

<!-- Made by docs/build_targets_page.py from the tables that check and compile by: edit those. -->

`headrace check --target kfp|argo` refuses what stands here as a *no*, with your file and line, and so does
`headrace compile`: nothing is ever left out of a compiled file. A version is the first server's that can; say which you
have with `--kfp-version` and `--argo-version`, by default {defaults}. A local run
takes `retries`, `timeout`, `cache`, `env` and `beam_args`, and says of the others that they count in a cluster only.
"""
SECTIONS = {"setting": "Settings of a step", "deployment": "The deployment", "node": "Nodes", "value": "Arguments"}


def page() -> str:
    """The page's text."""
    targets = {"Kubeflow Pipelines": target_of("kfp"), "Argo Workflows": target_of("argo")}
    versions = (f"{name} {'.'.join(map(str, target.server))}" for name, target in targets.items())
    lines = [INTRODUCTION.format(defaults=" and ".join(versions)).rstrip()]
    sections = {**SECTIONS, "": "Inputs and the root"}
    for kind, title in sections.items():
        names = [name for name in CONSTRUCTS if (name.split()[0] if name.split()[0] in SECTIONS else "") == kind]
        lines += ["", f"## {title}", "", f"| | {' | '.join(targets)} |", "|---|---|---|"]
        for name in names:
            cells = (_cell(target.constructs[name]) for target in targets.values())
            lines.append(f"| {CONSTRUCTS[name]} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(support: Support) -> str:
    how = support.how.replace("|", "\\|")
    if support.fix and not support.since:
        return f"*no*: {how}. Instead: {support.fix}".replace("|", "\\|").replace("\\\\|", "\\|")
    return f"{how} (from {'.'.join(map(str, support.since))})" if support.since else how


def main() -> int:
    text = page()
    if sys.argv[1:] == ["--check"]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{PAGE} is not what the tables give: python docs/build_targets_page.py")
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
