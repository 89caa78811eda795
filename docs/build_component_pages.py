"""Writes docs/components/: a page for each standard component, from its docstring and its signature.

python docs/build_component_pages.py            writes the pages
python docs/build_component_pages.py --check    exits with 1 if they are not what would be written
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import headrace.components
from headrace.pipelines.component import Component
from headrace.pipelines.component_doc import ComponentDoc, parse_doc
from headrace.pipelines.component_spec import REQUIRED, ParameterSpec

FOLDER = Path(__file__).parent / "components"
MADE = "<!-- Made by docs/build_component_pages.py from the component's docstring: edit that. -->"


def pages() -> dict[str, str]:
    """The text of each page by its file's name."""
    found = [getattr(headrace.components, name) for name in headrace.components.__all__]
    components = sorted((one for one in found if isinstance(one, Component)), key=lambda one: one.spec.name)
    written = {f"{component.spec.name}.md": page(component) for component in components}
    rows = [(f"[{one.spec.name}]({one.spec.name}.md)", parse_doc(one.spec.doc).summary) for one in components]
    index = ["# Components", "", MADE, "", *table(("component", "what it does"), rows), ""]
    return {"README.md": "\n".join(index), **written}


def page(component: Component) -> str:
    """One component's page."""
    spec, doc = component.spec, parse_doc(component.spec.doc)
    lines = [f"# {spec.name}", "", MADE, "", doc.summary, ""]
    if doc.description:
        lines += [doc.description.replace("::\n", ":\n"), ""]
    lines += ["```python", doc.example, "```", ""]
    inputs = [
        (f"`{name}`", f"list of {slot.type}" if slot.list else slot.type, _asked(slot.optional), doc.args[name])
        for name, slot in spec.inputs.items()
    ]
    outputs = [(f"`{name}`", _output_type(out.type, out.same_as), doc.args[name]) for name, out in spec.outputs.items()]
    parameters = [
        (f"`{name}`", f"`{_kind(one.kind)}`", _default(one), doc.args[name]) for name, one in spec.parameters.items()
    ]
    lines += _section("Inputs", ("input", "type", "", "what it is"), inputs)
    lines += _section("Outputs", ("output", "type", "what it is"), outputs)
    lines += _section("Parameters", ("parameter", "type", "default", "what it does"), parameters)
    lines += _results(component)
    for record in _records(component):
        lines += _record(record)
    lines += _section("Errors", ("error", "when"), [(f"`{name}`", text) for name, text in doc.raises.items()])
    return "\n".join(lines)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table in Markdown."""
    heads = list(heads)
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _section(title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    return [f"## {title}", "", *table(heads, rows), ""] if rows else []


def _results(component: Component) -> list[str]:
    spec = component.spec
    if not spec.results:
        return []
    returned = typing.get_type_hints(component.function)["return"]
    doc = parse_doc(returned.__doc__ or "")
    rows = [(f"`{name}`", f"`{_kind(kind)}`") for name, kind in spec.results.items()]
    return ["## Output parameters", "", doc.summary, "", *table(("name", "type"), rows), ""]


def _records(component: Component) -> list[type]:
    """The dataclasses that its parameters take."""
    annotations = [parameter.annotation for parameter in component.spec.parameters.values()]
    return [one for one in annotations if isinstance(one, type) and dataclasses.is_dataclass(one)]


def _record(record: type) -> list[str]:
    doc: ComponentDoc = parse_doc(record.__doc__ or "")
    rows = [(f"`{name}`", text) for name, text in doc.args.items()]
    return [f"## {record.__name__}", "", doc.summary, "", *table(("field", "what it is"), rows), ""]


def _asked(optional: bool) -> str:
    return "optional" if optional else "required"


def _output_type(type_: str, same_as: str | None) -> str:
    return f"that of `{same_as}`" if same_as else type_


def _kind(kind: str) -> str:
    names = {"function": "function", "files": "path, pattern, or a dict of them", "any": "any"}
    plain = kind.removesuffix("?")
    shown = names.get(plain, " or ".join(plain.split("|")))
    return f"{shown} or None" if kind.endswith("?") else shown


def _default(parameter: ParameterSpec) -> str:
    return "required" if parameter.default is REQUIRED else f"`{parameter.default!r}`"


def main(arguments: list[str]) -> int:
    """Writes the pages, or says which are not current."""
    wanted = pages()
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    if "--check" in arguments:
        stale = sorted(name for name in {*wanted, *there} if wanted.get(name) != there.get(name))
        if stale:
            print(f"{', '.join(stale)}: not current; run python docs/build_component_pages.py")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name in {*there} - {*wanted}:
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
