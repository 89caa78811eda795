"""Random projects: the digest changes exactly when running the function shows that its code did."""

from __future__ import annotations

import ast
import importlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from headrace.pipelines.code_digest import digest_function
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KINDS = ["function", "constant", "class", "default", "decorator", "appended"]
IMPORTS = ["from", "module", "alias", "relative", "local"]


@dataclass(frozen=True)
class Definition:
    """`d<number>` of module `m<module>`: its value is its own number plus the values of those it names."""

    number: int
    module: int
    kind: str
    names: tuple[int, ...]
    imported: str


@st.composite
def projects(draw: st.DrawFn) -> list[Definition]:
    count = draw(st.integers(2, 8))
    definitions: list[Definition] = []
    for number in range(count):
        names = draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        kind, imported = draw(st.sampled_from(KINDS)), draw(st.sampled_from(IMPORTS))
        definitions.append(Definition(number, number // 3, kind, tuple(names), imported))
    return definitions


def value_of(user: Definition, used: Definition) -> tuple[str, str, str]:
    """(top-level import, import inside a function, expression)."""
    name = f"d{used.number}"
    top = inside = ""
    if used.module != user.module:
        match user.imported:
            case "from":
                top = f"from pkg.m{used.module} import {name}"
            case "module":
                top, name = f"import pkg.m{used.module}", f"pkg.m{used.module}.{name}"
            case "alias":
                top, name = f"import pkg.m{used.module} as a{used.module}", f"a{used.module}.{name}"
            case "relative":
                top, name = f"from . import m{used.module}", f"m{used.module}.{name}"
            case _ if user.kind in {"function", "decorator"}:
                inside = f"from .m{used.module} import {name}"
            case _:
                top = f"from .m{used.module} import {name} as local_{name}"
                name = f"local_{name}"
    called = {"constant": name, "appended": f"{name}[-1]", "class": f"{name}().value()"}
    return top, inside, called.get(used.kind, f"{name}()")


def source_of(definition: Definition, definitions: list[Definition], own: int) -> tuple[list[str], str]:
    values = [value_of(definition, definitions[number]) for number in definition.names]
    total = " + ".join([str(own), *(expression for _, _, expression in values)])
    inside = "; ".join([*(inner for _, inner, _ in values if inner), f"return {total}"])
    name = f"d{definition.number}"
    texts = {
        "function": f"def {name}():\n    {inside}",
        "constant": f"{name} = {total}",
        "class": f"class {name}:\n    def value(self):\n        return {total}",
        "default": f"def {name}(v={total}):\n    return v",
        "decorator": f"def w{name}(f): return f\n@w{name}\ndef {name}():\n    {inside}",
        "appended": f"{name} = []\n{name}.append({total})",
    }
    return [top for top, _, _ in values if top], texts[definition.kind]


def write(root: Path, definitions: list[Definition], edited: int | None) -> None:
    (root / "pkg").mkdir(exist_ok=True)
    (root / "pkg" / "__init__.py").touch()
    for module in {definition.module for definition in definitions}:
        imports: list[str] = []
        bodies: list[str] = []
        for definition in definitions:
            if definition.module == module:
                own = 10**definition.number * (2 if definition.number == edited else 1)
                tops, body = source_of(definition, definitions, own)
                imports += tops
                bodies.append(body)
        (root / "pkg" / f"m{module}.py").write_text("\n".join([*imports, *bodies]) + "\n")


def result(root: Path, definition: Definition) -> object:
    # By Python alone: what Headrace loads depends on the digest that is tested here.
    for name in [name for name in sys.modules if name.partition(".")[0] == "pkg"]:
        del sys.modules[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.syspath_prepend(str(root))
        found = getattr(importlib.import_module(f"pkg.m{definition.module}"), f"d{definition.number}")
        return called(definition, found)


def called(definition: Definition, found: Any) -> object:
    match definition.kind:
        case "constant":
            return found
        case "appended":
            return found[-1]
        case "class":
            return found().value()
    return found()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(definitions=projects(), data=st.data())
def test_the_digest_changes_exactly_when_the_result_does(definitions: list[Definition], data: st.DataObject) -> None:
    root_definition = definitions[-1]
    edited = data.draw(st.sampled_from([definition.number for definition in definitions]))
    module, name = f"pkg.m{root_definition.module}", f"d{root_definition.number}"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, definitions, None)
        before, value = digest_function(module, name, root), result(root, root_definition)
        write(root, definitions, edited)
        after, new_value = digest_function(module, name, root), result(root, root_definition)
    assert (before.digest != after.digest) == (value != new_value), (before.parts, after.parts)
    assert not before.caveats


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(definitions=projects(), comments=st.lists(st.text("abc #\"'", max_size=10), min_size=1))
def test_formatting_and_comments_are_no_change(definitions: list[Definition], comments: list[str]) -> None:
    module, name = f"pkg.m{definitions[-1].module}", f"d{definitions[-1].number}"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, definitions, None)
        before = digest_function(module, name, root)
        for number, file in enumerate(sorted(root.glob("pkg/m*.py"))):
            text = ast.unparse(ast.parse(file.read_text()))
            lines = [f"{line}  # {comments[(number + i) % len(comments)]}" for i, line in enumerate(text.splitlines())]
            file.write_text(f"'''{number}'''\n\n" + "\n\n".join(lines) + "\n")
        assert digest_function(module, name, root) == before
