"""The digest of a function changes exactly when a definition that it reaches changes."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from headrace.pipelines.code_digest import CodeDigest, digest_function, packages_imported_by
from headrace.pipelines.code_digest.stable_dump import stable_dump
from headrace.pipelines.errors import PipelineError

PROJECT = {
    "pyproject.toml": "",
    "shop/__init__.py": "from .prices import total as exported\n",
    "shop/prices.py": """
        from shop import rates
        from shop.base import Priced as Base
        import shop.rates as r

        def total(x, factor=2):
            return rates.scale(x) * factor
        """,
    "shop/rates.py": """
        from .deep import helper, unused
        RATES = {"a": BASE_RATE} if (BASE_RATE := 3) else {}
        LOW = 1
        ORDER = []
        ORDER.append("first")

        def scale(x):
            return helper(x) + RATES["a"]

        def neighbour(x):
            return x - LOW
        """,
    "shop/deep.py": """
        LIMIT = 10

        def helper(x):
            return min(x, LIMIT)

        def unused(x):
            return x
        """,
    "shop/base.py": """
        class Root:
            size = 1
            def width(self):
                return self.size

        class Priced(Root):
            colour = "red"
        """,
    "app.py": """
        from __future__ import annotations

        import functools
        from typing import TYPE_CHECKING

        import shop
        import shop.rates
        from shop import exported, prices, rates as rr
        from shop.base import Priced

        if TYPE_CHECKING:
            from shop.base import Root

        try:
            import fastlib
        except ImportError:
            fastlib = None

        WIDTH = 3
        TABLE = [1]
        TABLE += [2]
        HOOKS = {}
        SHIFT = WIDTH + 1

        def traced(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args)
            return wrapper

        def hook(function):
            HOOKS[function.__name__] = function
            return function

        @hook
        def hooked(x):
            return x

        def preprocessing_fn(inputs):
            return {name: prices.total(value) for name, value in inputs.items()}

        @traced
        def build_model(features, units=WIDTH):
            "Builds."
            model = Priced()
            rows = [rr.scale(v) for v in features]  # rates
            return model, rows, TABLE

        def through_export(x): return exported(x)
        def dotted(x): return shop.rates.scale(x)
        def ordered(): return rr.ORDER
        def inner(x):
            from shop.deep import helper as h
            def nested(y): return h(y) + SHIFT
            return nested(x)
        square = lambda v: v * WIDTH
        def annotated(x: int) -> Root:
            y: int = x
            return y
        def by_name(x): return getattr(rr, x)
        def fixed_name(x): return getattr(rr, "neighbour")(x)
        def hooks(): return HOOKS
        def shadow(WIDTH): return [TABLE for TABLE in WIDTH]
        def fast(x): return fastlib.go(x) if fastlib else x

        class Model(Priced):
            units: int = SHIFT
            def call(self, x): return self.scaled(x)
            def scaled(self, x): return rr.neighbour(x)

        if __name__ == "__main__":
            WIDTH = 99
            print(build_model([]))
        """,
}

# (what the edit is, file, text before, text after, function of app.py, whether its digest changes)
EDITS = [
    ("helper two imports away", "shop/deep.py", "min(x, LIMIT)", "max(x, LIMIT)", "preprocessing_fn", True),
    ("constant of that helper", "shop/deep.py", "LIMIT = 10", "LIMIT = 11", "preprocessing_fn", True),
    ("unused neighbour of that helper", "shop/deep.py", "return x\n", "return x + 1\n", "preprocessing_fn", False),
    ("constant beside, not named", "shop/rates.py", "LOW = 1", "LOW = 2", "preprocessing_fn", False),
    ("walrus inside a constant", "shop/rates.py", ":= 3", ":= 4", "preprocessing_fn", True),
    ("default of a helper", "shop/prices.py", "factor=2", "factor=3", "preprocessing_fn", True),
    ("build_model beside preprocessing_fn", "app.py", "model = Priced()", "model = None", "preprocessing_fn", False),
    ("build_model itself", "app.py", "model = Priced()", "model = None", "build_model", True),
    ("preprocessing_fn beside build_model", "app.py", "in inputs.items()", "in inputs", "build_model", False),
    ("constant in a default argument", "app.py", "WIDTH = 3", "WIDTH = 4", "build_model", True),
    ("decorator's body", "app.py", "return function(*args)", "return function(*args) + 1", "build_model", True),
    ("decorator removed", "app.py", "@traced\n", "", "build_model", True),
    ("class attribute", "shop/base.py", '"red"', '"blue"', "build_model", True),
    ("method of a base class", "shop/base.py", "return self.size", "return 2 * self.size", "build_model", True),
    ("base class", "shop/base.py", "Priced(Root)", "Priced", "build_model", True),
    ("statement that changes a constant", "app.py", "TABLE += [2]", "TABLE += [3]", "build_model", True),
    ("docstring", "app.py", '"Builds."', '"Builds the model."', "build_model", False),
    ("docstring removed", "app.py", '    "Builds."\n', "", "build_model", False),
    ("comment", "app.py", "# rates", "# other words", "build_model", False),
    (
        "formatting",
        "app.py",
        "return model, rows, TABLE",
        "return (model,\n  rows, TABLE)",
        "build_model",
        False,
    ),
    ("main guard", "app.py", "WIDTH = 99", "WIDTH = 98", "build_model", False),
    ("re-export through __init__", "shop/prices.py", "* factor", "+ factor", "through_export", True),
    (
        "the re-exported name elsewhere",
        "shop/__init__.py",
        ".prices import total",
        ".deep import helper",
        "through_export",
        True,
    ),
    ("dotted module attribute", "shop/rates.py", 'RATES["a"]\n', 'RATES["b"]\n', "dotted", True),
    ("dotted module's neighbour", "shop/rates.py", "x - LOW", "x + LOW", "dotted", False),
    ("append at module level", "shop/rates.py", '"first"', '"second"', "ordered", True),
    ("import inside a function", "shop/deep.py", "LIMIT = 10", "LIMIT = 11", "inner", True),
    ("global of a nested function", "app.py", "SHIFT = WIDTH + 1", "SHIFT = WIDTH + 2", "inner", True),
    ("constant behind a constant", "app.py", "WIDTH = 3", "WIDTH = 4", "inner", True),
    ("lambda", "app.py", "v * WIDTH", "v + WIDTH", "square", True),
    ("constant of a lambda", "app.py", "WIDTH = 3", "WIDTH = 4", "square", True),
    ("annotation of an argument", "app.py", "x: int", "x: float", "annotated", True),
    ("annotation of a local", "app.py", "y: int = x", "y: float = x", "annotated", False),
    ("class in an annotation", "shop/base.py", "size = 1", "size = 2", "annotated", True),
    ("getattr with a computed name", "shop/rates.py", "x - LOW", "x + LOW", "by_name", True),
    ("getattr with a fixed name", "shop/rates.py", "x - LOW", "x + LOW", "fixed_name", True),
    ("getattr with another fixed name", "shop/rates.py", "RATES[", "ORDER[", "fixed_name", False),
    (
        "registered by a decorator",
        "app.py",
        "def hooked(x):\n    return x\n",
        "def hooked(x):\n    return 0\n",
        "hooks",
        True,
    ),
    ("a local that hides a global", "app.py", "WIDTH = 3", "WIDTH = 4", "shadow", False),
    ("a comprehension's own name", "app.py", "TABLE = [1]", "TABLE = [0]", "shadow", False),
    ("conditional import", "app.py", "fastlib = None", "fastlib = False", "fast", True),
    ("method", "app.py", "rr.neighbour(x)", "rr.scale(x)", "Model.call", True),
    ("helper of a sibling method", "shop/rates.py", "x - LOW", "x + LOW", "Model.call", True),
    ("class attribute's constant", "app.py", "WIDTH = 3", "WIDTH = 4", "Model", True),
    (
        "import order",
        "app.py",
        "import shop\nimport shop.rates",
        "import shop.rates\nimport shop",
        "build_model",
        False,
    ),
    ("import alias", "shop/prices.py", "from shop import rates\n", "from . import rates\n", "preprocessing_fn", False),
    ("unused import added", "app.py", "import functools\n", "import functools\nimport json\n", "build_model", False),
]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
    return root


def edit(root: Path, file: str, before: str, after: str) -> None:
    text = (root / file).read_text(encoding="utf-8")
    assert before in text
    (root / file).write_text(text.replace(before, after, 1), encoding="utf-8")


@pytest.mark.parametrize(("what", "file", "before", "after", "function", "changes"), EDITS, ids=[e[0] for e in EDITS])
def test_edits(tmp_path: Path, what: str, file: str, before: str, after: str, function: str, changes: bool) -> None:
    write(tmp_path, PROJECT)
    first = digest_function("app", function, tmp_path)
    edit(tmp_path, file, before, after)
    second = digest_function("app", function, tmp_path)
    assert (first.digest != second.digest) is changes, (first.parts, second.parts)
    assert (first.parts != second.parts) is changes


def test_parts_name_what_counts(tmp_path: Path) -> None:
    write(tmp_path, PROJECT)
    found = digest_function("app", "preprocessing_fn", tmp_path)
    assert set(found.parts) == {
        "app:preprocessing_fn",
        "shop.prices:total",
        "shop.rates:scale",
        "shop.rates:RATES",
        "shop.rates:BASE_RATE",
        "shop.deep:helper",
        "shop.deep:LIMIT",
    }
    assert found.caveats == ()


def filled(value: str, text: str, others: dict[str, str], tmp_path: Path) -> str:
    return one_module(tmp_path, text.format(value), **{n: t.format(value) for n, t in others.items()}).digest


def one_module(tmp_path: Path, text: str, function: str = "f", **others: str) -> CodeDigest:
    write(tmp_path, {"m.py": text, **{f"{name}.py": other for name, other in others.items()}})
    return digest_function("m", function, tmp_path)


SEEN_AS_A_WHOLE = {
    "getattr": ("import o\ndef f(n): return getattr(o, n)", "o"),
    "a module as a value": ("import o\ndef f(): return [o]", "o"),
    "star import": ("from o import *\ndef f(): return anything()", "o"),
    "import_module": ("import importlib\ndef f(): return importlib.import_module('o').x", "o"),
    "globals": ("def f(n): return globals()[n]\ndef g(): return 1", "m"),
    "eval": ("def f(n): return eval(n)\ndef g(): return 1", "m"),
    "__import__": ("def f(n): return __import__(n)\ndef g(): return 1", "m"),
    "globals at the top": ("for n in 'ab': globals()[n] = 1\ndef f(n): return a\n", "m"),
    "module __getattr__": ("import o\ndef f(): return o.made_up", "o"),
}


@pytest.mark.parametrize("what", SEEN_AS_A_WHOLE)
def test_what_cannot_be_seen_counts_as_a_whole_module_and_is_said(tmp_path: Path, what: str) -> None:
    text, whole = SEEN_AS_A_WHOLE[what]
    other = "def x(): return deep()\ndef deep(): return 1\ndef __getattr__(n): return n\n"
    if what != "module __getattr__":
        other = other.replace("__getattr__", "plain")
    first = one_module(tmp_path, text, o=other)
    assert f"{whole}:*" in first.parts
    assert any(f"all of {whole} counts" in caveat for caveat in first.caveats)
    edit(tmp_path, f"{whole}.py", " 1", " 2")
    assert digest_function("m", "f", tmp_path).digest != first.digest


CHANGED_ELSEWHERE = {
    "patch in the own module": (
        "import o\no.scale = lambda x: {}\ndef f(x): return o.scale(x)",
        {"o": "def scale(x): return x"},
    ),
    "patch by setattr": (
        "import o\nsetattr(o, 'scale', {})\ndef f(x): return o.scale(x)",
        {"o": "def scale(x): return x"},
    ),
    "patch in an imported module": (
        "import o, p\ndef f(x): return o.scale(x)",
        {"o": "def scale(x): return x", "p": "import o\no.scale = lambda x: {}"},
    ),
    "registry filled elsewhere": (
        "import p\nfrom o import REGISTRY\ndef f(x): return REGISTRY[x]",
        {
            "o": "REGISTRY = dict()\ndef register(g):\n    REGISTRY[g.__name__] = g\n    return g",
            "p": "from o import register\n@register\ndef added(x): return {}",
        },
    ),
    "singledispatch": (
        "import functools\n@functools.singledispatch\ndef f(x): return x\n@f.register\ndef _(x: int): return {}",
        {},
    ),
    "shuffled in place": ("import random\nX = [1, 2]\nrandom.Random({}).shuffle(X)\ndef f(): return X", {}),
    "loop at the top": ("X = []\nfor i in range({}): X.append(i)\ndef f(): return X", {}),
    "with at the top": ("import io\nwith io.StringIO('{}') as s: X = s.read()\ndef f(): return X", {}),
    "float policy": ("import decimal\ndecimal.getcontext().prec = {}\ndef f(x): return x", {}),
    "setting in an imported module": (
        "import p\ndef f(x): return x",
        {"p": "import locale\nlocale.setlocale({}, 'C')"},
    ),
    "both branches of an if": (
        "import sys\nif sys.argv:\n    def g(): return {}\nelse:\n    g = None\ndef f(): return g()",
        {},
    ),
    "cycle of modules": (
        "import p\ndef f(x): return p.g(x)\ndef h(): return 1",
        {"p": "import m\ndef g(x): return m.h() + {}"},
    ),
    "base in a cycle": ("def f(n): return n and g(n - 1)\ndef g(n): return f(n) + {}", {}),
    "match": ("X = {}\ndef f(v):\n    match v:\n        case [a, *b]: return X", {}),
    "global statement": ("X = {}\ndef f():\n    global X\n    X += 1", {}),
    "default of a lambda": ("X = {}\ndef f(): return lambda a=X: a", {}),
    "keyword of a class": ("X = {}\nclass A(dict, metaclass=type): y = X\ndef f(): return A", {}),
    "f-string": ("X = {}\ndef f(): return f'<{{X!r:>{{X}}}}>'", {}),
    "quoted annotation": ("class A:\n    x = {}\ndef f(a: 'list[A]'): return a", {}),
}


@pytest.mark.parametrize("what", CHANGED_ELSEWHERE)
def test_reached_by_another_way_than_a_call(tmp_path: Path, what: str) -> None:
    text, others = CHANGED_ELSEWHERE[what]
    first, second = (filled(value, text, others, tmp_path) for value in ("1", "2"))
    assert first != second
    assert filled("1", text, others, tmp_path) == first


def test_the_pipeline_at_the_end_of_a_file_does_not_tie_its_functions_together(tmp_path: Path) -> None:
    text = """
        from headrace.components import Trainer, Transform
        from headrace.pipelines import Pipeline

        def preprocessing_fn(inputs): return inputs
        def build_model(features): return {}

        transform = Transform(preprocessing_fn=preprocessing_fn)
        trainer = Trainer(build_model=build_model, transform=transform.outputs["transform_graph"])
        pipeline = Pipeline(components=[transform, trainer])
        pipeline.run()
        """
    first = one_module(tmp_path, text.replace("{}", "1"), "preprocessing_fn")
    second = one_module(tmp_path, text.replace("{}", "2"), "preprocessing_fn")
    assert first == second
    assert set(first.parts) == {"m:preprocessing_fn"}


def install(site: Path, name: str, version: str, package: str, text: str = "def go(x): return x\n") -> None:
    for old in site.glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    info = site / f"{name}-{version}.dist-info"
    write(site, {f"{package}/__init__.py": text})
    info.mkdir()
    (info / "RECORD").write_text(f"{package}/__init__.py,,\n{info.name}/RECORD,,\n", encoding="utf-8")


def test_an_installed_package_counts_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    install(site, "fast_lib", "1.0", "fastlib")
    monkeypatch.syspath_prepend(str(site))
    write(tmp_path / "project", PROJECT)

    def digest() -> CodeDigest:
        return digest_function("app", "fast", tmp_path / "project")

    first = digest()
    assert "fast_lib==1.0" in first.parts
    install(site, "fast_lib", "1.0", "fastlib", "def go(x): return -x\n")
    assert digest() == first, "the same version counts as the same code"
    install(site, "fast_lib", "1.1", "fastlib")
    second = digest()
    assert "fast_lib==1.1" in second.parts and "fast_lib==1.0" not in second.parts
    assert second.digest != first.digest
    assert second.definitions == first.definitions, "what travels does not depend on what is installed"


def test_a_module_that_no_distribution_owns_counts_by_its_definitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "lib", {"fastlib.py": "def go(x): return x\ndef other(x): return x\n"})
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    write(tmp_path / "project", PROJECT)
    found = digest_function("app", "fast", tmp_path / "project")
    assert "fastlib:go" in found.parts and "fastlib:other" not in found.parts


def test_an_editable_install_counts_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    write(source, {"fastlib/__init__.py": "def go(x): return x\n"})
    info = site / "fast_lib-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "direct_url.json").write_text(json.dumps({"dir_info": {"editable": True}, "url": source.as_uri()}))
    monkeypatch.syspath_prepend(str(source))
    monkeypatch.syspath_prepend(str(site))
    write(tmp_path / "project", PROJECT)
    found = digest_function("app", "fast", tmp_path / "project")
    assert "fast_lib==1.0" in found.parts
    assert not any(part.startswith("fastlib") for part in found.parts)


def test_headrace_and_the_standard_library_count_by_version() -> None:
    found = digest_function("headrace.pipelines.errors", "Problem", ".")
    assert [part.partition("==")[0] for part in found.parts] == ["headrace"]
    assert list(digest_function("json", "dumps", ".").parts) == [
        f"python=={sys.version_info.major}.{sys.version_info.minor}"
    ]


def test_a_missing_package_is_a_part_of_the_environment_only(tmp_path: Path) -> None:
    found = one_module(tmp_path, "import not_there\ndef f(): return not_there.x")
    assert "not_there (not installed)" in found.parts
    assert found.caveats == ("not_there is neither in the project nor installed: its code does not count",)


def test_the_packages_that_an_import_loads(tmp_path: Path) -> None:
    text = """
        from typing import TYPE_CHECKING
        import p
        if TYPE_CHECKING:
            import pandas
        def f():
            import duckdb
        """
    write(tmp_path, {"m.py": text, "p.py": "import tensorflow.keras as k\nfrom yaml import *\n"})
    assert packages_imported_by("m", tmp_path) == {"typing", "tensorflow", "yaml"}


def test_a_use_of_file_is_said(tmp_path: Path) -> None:
    assert "__file__" in one_module(tmp_path, "def f(): return open(__file__ + '.sql').read()").caveats[0]


@pytest.mark.parametrize(
    ("module", "name", "nearest"),
    [
        ("app", "build_modle", "app:build_model"),
        ("shop.pricse", "total", "shop.prices"),
        ("app", "Modle.call", "app:Model"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path, module: str, name: str, nearest: str) -> None:
    write(tmp_path, PROJECT)
    with pytest.raises(PipelineError) as caught:
        digest_function(module, name, tmp_path)
    assert f"did you mean {nearest}?" in str(caught.value)


def test_a_syntax_error_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"m\.py:2: expected Python source"):
        one_module(tmp_path, "x = 1\ndef f(:\n")


def test_sources_of_the_standard_library_dump_alike_after_a_round_trip_through_unparse() -> None:
    for name in ("json/decoder.py", "dataclasses.py", "argparse.py", "typing.py", "asyncio/tasks.py", "statistics.py"):
        tree = ast.parse((Path(os.__file__).parent / name).read_bytes())
        assert stable_dump(tree) == stable_dump(ast.parse(ast.unparse(tree))), name


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 'a'", "x = b'a'"),
        ("f(a, b)", "f(b, a)"),
        ("f(*a)", "f(a)"),
        ("x = -1", "x = 1"),
        ("{**a}", "{None: a}"),
        ("return_ = a.b", "return_ = a.c"),
        ("def f(a, /): 0", "def f(a): 0"),
        ("async def f(): 0", "def f(): 0"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("x = f'{a}b'", "x = f'{a:b}'"),
        ("import a as b", "import a"),
        ("from . import a", "from .. import a"),
        ("match x:\n case None: y", "match x:\n case True: y"),
        ("class A: x: int", "class A: x: str"),
    ],
)
def test_different_meanings_dump_differently(one: str, two: str) -> None:
    assert stable_dump(ast.parse(one)) != stable_dump(ast.parse(two))


# Loads the digest alone: no other interpreter needs Headrace's dependencies.
ALONE = """
import json, sys, types
for name, path in (("headrace", None), ("headrace.pipelines", sys.argv[1])):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = [path] if path else []
from headrace.pipelines.code_digest import digest_function
functions = ["preprocessing_fn", "build_model", "inner", "by_name", "hooks", "Model.call", "annotated"]
found = {name: digest_function("app", name, sys.argv[2]) for name in functions}
mine = [name for name in sys.modules if name.partition(".")[0] in {"app", "shop", "numpy", "yaml"}]
heavy = [name for name in ("importlib.metadata", "urllib.request", "email", "symtable") if name in sys.modules]
print(json.dumps({"digests": {n: d.definitions for n, d in found.items()}, "imported": mine + heavy}))
"""


def run_alone(python: str, root: Path) -> dict[str, object]:
    import headrace.pipelines.code_digest as package

    folder = str(Path(package.__file__).parents[1])
    command = [python, "-c", ALONE, folder, str(root)]
    environment = {**os.environ, "PYTHONHASHSEED": "random"}
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=root).stdout
    document: dict[str, object] = json.loads(output)
    return document


def test_digesting_imports_nothing_of_the_user_and_is_equal_in_another_process(tmp_path: Path) -> None:
    write(tmp_path, {**PROJECT, "shop/rates.py": PROJECT["shop/rates.py"] + "\n        raise SystemExit('imported')\n"})
    found = run_alone(sys.executable, tmp_path)
    assert found["imported"] == []
    digests = found["digests"]
    assert isinstance(digests, dict)
    assert {name: digest_function("app", name, tmp_path).definitions for name in digests} == digests


@pytest.mark.parametrize("python", ["python3.11", "python3.12", "python3.13"])
def test_digests_are_equal_in_every_python(tmp_path: Path, python: str) -> None:
    interpreter = shutil.which(python)
    works = interpreter and subprocess.run([interpreter, "-c", ""], capture_output=True).returncode == 0
    if not interpreter or not works:
        pytest.skip(f"{python} is not installed")
    write(tmp_path, PROJECT)
    digests = run_alone(interpreter, tmp_path)["digests"]
    assert isinstance(digests, dict)
    assert {name: digest_function("app", name, tmp_path).definitions for name in digests} == digests
