"""Which names a piece of code takes from outside itself, found by Python's scoping rules without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# Code that builds names at run time: what it reaches cannot be read from the source.
DYNAMIC_BUILTINS = frozenset({"globals", "eval", "exec", "__import__"})
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_CHANGING_METHODS = frozenset({"setdefault", "pop", "append", "add", "update", "extend", "insert", "remove", "clear"})


@dataclass(frozen=True, order=True)
class ImportTarget:
    """What an import binds: a module (`name` empty) or a name in a module; `level` counts the leading dots."""

    module: str
    name: str = ""
    level: int = 0


@dataclass(frozen=True)
class Reference:
    """A global name, or an import inside a function, with the attributes that are taken from it (`np.random.rand`)."""

    root: str | ImportTarget
    attributes: tuple[str, ...] = ()
    # In an annotation, or possibly shadowed by a class attribute: followed when it is there, not missed when it is not.
    optional: bool = False


@dataclass
class References:
    """What one statement names, its uses of run-time names, and the globals that its functions change."""

    names: dict[Reference, None] = field(default_factory=dict)
    dynamic: dict[str, None] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)


@dataclass
class _Scope:
    is_class: bool
    bound: dict[str, list[ImportTarget]]
    declared_global: frozenset[str]
    parent: _Scope | None


def references_of(statement: ast.AST) -> References:
    """The names that a top-level statement takes from its module.

    >>> found = references_of(ast.parse("def f(x):\\n    import math as m\\n    return scale(x) + m.pi + x.y").body[0])
    >>> [(r.root, r.attributes) for r in found.names]
    [('scale', ()), (ImportTarget(module='math', name='', level=0), ('pi',))]
    """
    walker = _Walker()
    walker.visit(statement, None)
    return walker.found


def bindings_of(nodes: Iterable[ast.AST]) -> tuple[dict[str, list[ImportTarget]], frozenset[str]]:
    """The names that statements bind in their own scope (an import with its targets), and those declared global."""
    bound: dict[str, list[ImportTarget]] = {}
    declared: set[str] = set()
    outer: set[str] = set()
    for node in _own_scope(nodes):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                bound.setdefault(name, [])
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.setdefault(name, [])
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                bound.setdefault(name, [])
            case ast.MatchMapping(rest=str(name)):
                bound.setdefault(name, [])
            case ast.Import() | ast.ImportFrom():
                for name, target in import_targets(node):
                    bound.setdefault(name, []).append(target)
            case ast.Global(names=names):
                declared.update(names)
            case ast.Nonlocal(names=names):
                outer.update(names)
    for name in declared | outer:
        bound.pop(name, None)
    return bound, frozenset(declared)


def import_targets(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, ImportTarget]]:
    """Each name that an import statement binds with what it is bound to; a star import binds the name ``*``."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, ImportTarget(alias.name)
            else:
                top = alias.name.partition(".")[0]
                yield top, ImportTarget(top)
    else:
        for alias in node.names:
            yield alias.asname or alias.name, ImportTarget(node.module or "", alias.name, node.level)


def attribute_chain(node: ast.AST) -> tuple[str, tuple[str, ...]] | None:
    """``a.b.c`` as ``("a", ("b", "c"))``; None when it does not start at a name."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, tuple(reversed(attributes))) if isinstance(node, ast.Name) else None


def base_name(node: ast.AST) -> tuple[str, tuple[str, ...]] | None:
    """The name that ``X[i].a``, ``X.method(...)`` or ``X`` starts at, with the attributes that directly follow it."""
    while not isinstance(node, ast.Name):
        chain = attribute_chain(node)
        if chain is not None:
            return chain
        if isinstance(node, ast.Subscript | ast.Attribute | ast.Starred):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return None
    return node.id, ()


def _own_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    stack = list(nodes)
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            stack += [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)]
        elif isinstance(node, ast.ClassDef):
            stack += [*node.decorator_list, *node.bases]
        elif isinstance(node, ast.Lambda):
            stack += [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
        elif isinstance(node, _COMPREHENSIONS):
            # Only `:=` binds outside a comprehension.
            stack += [walrus.target for walrus in ast.walk(node) if isinstance(walrus, ast.NamedExpr)]
        else:
            stack += ast.iter_child_nodes(node)


class _Walker:
    def __init__(self) -> None:
        self.found = References()
        self._in_annotation = False

    def visit(self, node: ast.AST, scope: _Scope | None) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._all(node.decorator_list, scope)
                self._function(node.args, node.body, node.returns, getattr(node, "type_params", []), scope)
            case ast.Lambda():
                self._function(node.args, [node.body], None, [], scope)
            case ast.ClassDef():
                self._class(node, scope)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(node, scope)
            case ast.Name():
                self._name(node, scope)
            case ast.Attribute():
                self._attribute(node, scope)
            case ast.Subscript(ctx=ast.Store() | ast.Del()):
                self._change(node, scope)
                self._children(node, scope)
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method)):
                self._change(method.value, scope)
                self._children(node, scope)
            case ast.Call():
                self._call(node, scope)
            case ast.AnnAssign():
                self.visit(node.target, scope)
                if node.value:
                    self.visit(node.value, scope)
                if scope is None or scope.is_class:
                    self._annotation(node.annotation, scope)
            case ast.Constant(value=str(text)) if self._in_annotation:
                self._quoted_annotation(text, scope)
            case _:
                # `type Alias[T] = ...` of Python 3.12 has parameters of its own.
                self._children(node, self._type_parameters(getattr(node, "type_params", []), scope))

    def _children(self, node: ast.AST, scope: _Scope | None) -> None:
        self._all(ast.iter_child_nodes(node), scope)

    def _all(self, nodes: Iterable[ast.AST], scope: _Scope | None) -> None:
        for node in nodes:
            self.visit(node, scope)

    def _function(
        self,
        arguments: ast.arguments,
        body: list[ast.stmt] | list[ast.expr],
        returns: ast.expr | None,
        type_params: list[ast.AST],
        scope: _Scope | None,
    ) -> None:
        self._all([*arguments.defaults, *(default for default in arguments.kw_defaults if default)], scope)
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
        scope = self._type_parameters(type_params, scope)
        for annotation in [*(argument.annotation for argument in named), returns]:
            if annotation is not None:
                self._annotation(annotation, scope)
        bound, declared = bindings_of(body)
        parameters: dict[str, list[ImportTarget]] = {argument.arg: [] for argument in named}
        self._all(body, _Scope(False, {**parameters, **bound}, declared, scope))

    def _class(self, node: ast.ClassDef, scope: _Scope | None) -> None:
        self._all(node.decorator_list, scope)
        scope = self._type_parameters(getattr(node, "type_params", []), scope)
        self._all([*node.bases, *(keyword.value for keyword in node.keywords)], scope)
        bound, declared = bindings_of(node.body)
        self._all(node.body, _Scope(True, bound, declared, scope))

    def _type_parameters(self, type_params: list[ast.AST], scope: _Scope | None) -> _Scope | None:
        if not type_params:
            return scope
        inner = _Scope(False, {str(getattr(param, "name", "")): [] for param in type_params}, frozenset(), scope)
        for param in type_params:
            self._children(param, inner)
        return inner

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp, scope: _Scope | None
    ) -> None:
        self.visit(node.generators[0].iter, scope)
        bound, _ = bindings_of([generator.target for generator in node.generators])
        inner = _Scope(False, bound, frozenset(), scope)
        for position, generator in enumerate(node.generators):
            self._all([generator.target, *generator.ifs], inner)
            if position:
                self.visit(generator.iter, inner)
        self._all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt], inner)

    def _annotation(self, node: ast.expr, scope: _Scope | None) -> None:
        before, self._in_annotation = self._in_annotation, True
        self.visit(node, scope)
        self._in_annotation = before

    def _quoted_annotation(self, text: str, scope: _Scope | None) -> None:
        try:
            self.visit(ast.parse(text.strip(), mode="eval").body, scope)
        except SyntaxError:
            return  # the text of a Literal["..."]

    def _name(self, node: ast.Name, scope: _Scope | None) -> None:
        if isinstance(node.ctx, ast.Load):
            self._emit(node.id, (), scope)
        elif scope is not None and self._lookup(node.id, scope) is None:
            self._emit(node.id, (), scope)
            self.found.changed[node.id] = None

    def _attribute(self, node: ast.Attribute, scope: _Scope | None) -> None:
        if isinstance(node.ctx, ast.Store | ast.Del):
            self._change(node, scope)
        chain = attribute_chain(node)
        if chain is None:
            self.visit(node.value, scope)
        else:
            self._emit(*chain, scope)

    def _call(self, node: ast.Call, scope: _Scope | None) -> None:
        chain = attribute_chain(node.func)
        literal = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if chain == ("getattr", ()) and len(node.args) >= 2 and isinstance(node.args[1], ast.Constant) and literal:
            owner = attribute_chain(node.args[0])
            if owner is not None and self._lookup("getattr", scope) is None:
                self._emit(owner[0], (*owner[1], *literal[0].split(".")), scope)
                self._all(node.args[2:], scope)
                return
        if chain in {("__import__", ()), ("import_module", ()), ("importlib", ("import_module",))}:
            if literal and not literal[0].startswith("."):
                self.found.names[Reference(ImportTarget(literal[0]))] = None
                return
            self.found.dynamic["import_module() of a computed name"] = None
        if isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING_METHODS:
            self._change(node.func.value, scope)
        self._children(node, scope)

    def _change(self, node: ast.AST, scope: _Scope | None) -> None:
        base = base_name(node)
        if base is not None and scope is not None and self._lookup(base[0], scope) is None:
            self.found.changed[base[0]] = None

    def _emit(self, name: str, attributes: tuple[str, ...], scope: _Scope | None) -> None:
        targets = self._lookup(name, scope)
        if targets is None:
            self.found.names[Reference(name, attributes, self._in_annotation)] = None
            if name in DYNAMIC_BUILTINS:
                self.found.dynamic[f"{name}()"] = None
            elif name == "sys" and attributes[:1] == ("modules",):
                self.found.dynamic["sys.modules"] = None
            return
        for target in targets:
            self.found.names[Reference(target, attributes, self._in_annotation)] = None
        if scope is not None and scope.is_class and name in scope.bound:
            # A class body falls back to the global while its own name is not yet bound.
            self.found.names[Reference(name, attributes, True)] = None

    def _lookup(self, name: str, scope: _Scope | None) -> list[ImportTarget] | None:
        """None for a global; else the imports that bind the local name (none for an ordinary local)."""
        innermost = scope
        while scope is not None:
            if name in scope.declared_global:
                return None
            if name in scope.bound and (scope is innermost or not scope.is_class):
                return scope.bound[name]
            scope = scope.parent
        return None
