"""Writes docs/targets.md: what each target can express, from the tables that check and compile by.

python docs/build_targets_page.py            writes the page
python docs/build_targets_page.py --check    exits with 1 if it is not what would be written
"""

from __future__ import annotations

import sys
from pathlib import Path

from headrace.kubeflow.compile import target_of
from headrace.kubeflow.kfp.artifact_schemas import CURVES, artifact_schema, curves_of
from headrace.kubeflow.kfp.parameter_types import parameter_type
from headrace.kubeflow.portability import CONSTRUCTS, Support
from headrace.pipelines import artifact_types

PAGE = Path(__file__).parent / "targets.md"
INTRODUCTION = """# What each target can express

<!-- Made by docs/build_targets_page.py from the tables that check and compile by: edit those. -->

`headrace check --target kfp|argo` refuses what stands here as a *no*, with your file and line, and so does
`headrace compile`: nothing is ever left out of a compiled file. A version is the first server's that can; say which you
have with `--kfp-version` and `--argo-version`, by default {defaults}. A local run
takes `retries`, `timeout`, `cache`, `env` and `beam_args`, and says of the others that they count in a cluster only.
"""
KFP = """## How a pipeline becomes Kubeflow's IR

`headrace compile --target kfp` writes a `PipelineSpec` and, where a setting needs one, the Kubernetes platform spec as
a second YAML document. Every reference, type, name and template in it is checked by `headrace.kubeflow.kfp.check`,
which takes any compiled pipeline, from other compilers too.

- A step is a component, an executor and a task: `StatisticsGen` is the task `statistics-gen`. A component is declared
  for each step, as its ports follow from what the step reads: a list has a port for each item (`models-0`), an input
  that may be absent is optional.
- The container runs `headrace-step` with the step as one JSON document in its arguments: code digests, constants and
  settings are in it, in which nothing can be taken for a template.
- An artifact of Kubeflow's is a small reference file; the data are in the pipeline root. Its type is one that
  Kubeflow's page draws, or one of Headrace's name:

{types}

- Beside each artifact goes the digest of its content, as a parameter: Kubeflow's cache looks at the names of input
  artifacts, at parameters, at the image and at the command line, and at no content. So an edited function and changed
  data are misses. The environment is not in its key; a step's is in its document. A step that reads files or asks the
  store (`Resolver`, `Importer`) is never skipped by Kubeflow: its container looks, and ends at once where nothing
  changed. Its artifacts then have new ids, which are in the key too, so the steps behind it look for themselves as
  well.
- A pipeline's parameters have Kubeflow's types where there is one:
  {parameters}.
  Others, such as `int?`, are text: their JSON. A value with `{{{{`, `$(` or `$$` is refused, as a default and with
  `-p`: Argo, Kubernetes and Kubeflow's launcher replace what follows in the parameters of every pipeline, and no way
  of writing stops them. So
  are whole numbers beyond 2**53, as Kubeflow's numbers are doubles, and characters that its server cannot store. A
  constant of a step has none of these limits.
- A step's output parameters are JSON in text, so that an absent one can be told.
- Headrace's `Importer` is a container and no importer of Kubeflow's: that one records a URI, and neither a digest nor
  what lies there.
- The run's id comes in the variable `HEADRACE_RUN`, which the server fills in.
- A server before 2.3.0 keeps the steps in annotations of one object, 256 KiB in all: about eighty steps such as the
  example's.
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
    return "\n".join([*lines, "", _kfp()])


def _kfp() -> str:
    """How Kubeflow's IR is made, with the types as the compiler has them."""
    titles: dict[str, list[str]] = {}
    for name in artifact_types.__all__:
        if name != "artifact_class":
            titles.setdefault(artifact_schema(name)["schemaTitle"], []).append(name)
    standard = [item for item in sorted(titles.items()) if item[0].startswith("system.")]
    rows = [f"  | `{title}` | {', '.join(names)} |" for title, names in standard]
    curves = f"a further output of an Evaluation, `{curves_of('evaluation', 'Evaluation')}`"
    rows += [f"  | `{CURVES['schemaTitle']}` | {curves} |", "  | `headrace.TYPE` | any other type |"]
    types = "\n".join(["  | in Kubeflow | of Headrace |", "  |---|---|", *rows])
    kinds = ("str", "int", "float", "bool", "list", "dict")
    parameters = ", ".join(f"`{kind}` is `{parameter_type(kind)}`" for kind in kinds)
    return KFP.format(types=types, parameters=parameters)


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
