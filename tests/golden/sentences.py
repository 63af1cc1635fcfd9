"""Read from the source, without running it, every sentence that droplan or its bootstrap can end with.

A sentence is followed to where it is made: through both branches of a condition, constants, variables, what a
function returns or yields, and what its callers pass it. `…` stands for what is known only when it is said.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Final, Union

UNKNOWN: Final = "…"
_DEEP: Final = 6
_FORMAT: Final = re.compile(r"%(?:\(\w+\))?[-#0 +]*[0-9]*(?:\.[0-9]+)?[sdrx]")
_OURS: Final = "droplan: "
_SUBJECT: Final = re.compile(f"({UNKNOWN}(={UNKNOWN})?|The private interface is OPEN): ")

Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
Texts = tuple[str, ...]


@dataclass(frozen=True)
class Sentence:
    """One sentence that something may end with.

    Args:
        cause: what is wrong.
        remedy: what to do; "" where the sentence has none.
        exit_code: what the command ends with; None where it goes on.
        line: where it is said.
    """

    cause: str
    remedy: str
    exit_code: int | None
    line: int


@dataclass
class Scope:
    """Where an expression stands.

    Args:
        module: in which module.
        function: in which function; None outside of all.
        bound: what the function's parameters stand for, as one of its callers passes it.
        above: the functions that are being followed already.
    """

    module: Module
    function: Function | None = None
    bound: dict[str, Texts] = field(default_factory=dict)
    above: tuple[str, ...] = ()


class Module:
    """A module's source, with what it defines and where in it each function is called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tree = ast.parse(path.read_text())
        self.functions: dict[str, Function] = {}
        self.constants: dict[str, ast.expr] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        self.calls: list[tuple[ast.Call, Function | None]] = []
        self._visit(self.tree, None)

    def _visit(self, node: ast.AST, function: Function | None) -> None:
        for child in ast.iter_child_nodes(node):
            inside = function
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self.functions.setdefault(child.name, child)
                inside = child
            elif isinstance(child, ast.ClassDef):
                self.classes[child.name] = child
            elif isinstance(child, ast.ImportFrom) and child.module:
                self.imported.update({one.asname or one.name: (child.module, one.name) for one in child.names})
            elif isinstance(child, ast.Call):
                self.calls.append((child, function))
            if function is None:
                self.constants.update({name: value for name, value in _assigned(child) if value is not None})
            self._visit(child, inside)


class Source:
    """All modules of a tree.

    Args:
        top: the directory that holds the packages.
        paths: the modules' files.
    """

    def __init__(self, top: Path, paths: Iterable[Path]) -> None:
        self.modules = {_dotted(path.relative_to(top)): Module(path) for path in paths}

    def at(self, path: Path) -> Module:
        """Return the module of a file."""
        return next(module for module in self.modules.values() if module.path == path)

    @cached_property
    def errors(self) -> dict[str, int]:
        """The exit code of each class of error, by the class's name."""
        found = {"DroplanError": 1}
        for _ in range(_DEEP):
            for module in self.modules.values():
                for name, one in module.classes.items():
                    of = [found[base.id] for base in one.bases if isinstance(base, ast.Name) and base.id in found]
                    own = [
                        value.value
                        for statement in one.body
                        for key, value in _assigned(statement)
                        if key == "exit_code" and isinstance(value, ast.Constant) and isinstance(value.value, int)
                    ]
                    if of:
                        found[name] = own[0] if own else of[0]
        return found

    @cached_property
    def unanswered(self) -> frozenset[str]:
        """The classes whose sentence is made of two arguments: why, and what to do."""
        found = {"NoAnswerError"}
        for _ in range(_DEEP):
            for module in self.modules.values():
                for name, one in module.classes.items():
                    if any(isinstance(base, ast.Name) and base.id in found for base in one.bases):
                        found.add(name)
        return frozenset(found)

    def raised(self, module: Module) -> Iterator[Sentence]:
        """Find the sentences of a module's errors, and what it says before it ends or goes on.

        An error of whose sentence nothing can be told has the cause ``…``.
        """
        for call, function in module.calls:
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            if name in self.errors and call.args and not again(call):
                for scope in self._contexts(Scope(module, function)):
                    whys = self.texts(call.args[0], scope, sentence=True)
                    if name in self.unanswered:
                        second = [one.value for one in call.keywords if one.arg == "advice"] or call.args[1:2]
                        advice = self.texts(second[0], scope, sentence=True) if second else ("",)
                        pairs = list(product(whys, advice))
                    else:
                        pairs = [split(why) for why in whys]
                    for cause, remedy in pairs:
                        yield Sentence(cause, remedy, self.errors[name], call.lineno)
        yield from self._said(module)

    def ended(self, module: Module) -> Iterator[Sentence]:
        """Find the sentences of a program that knows none of our classes: its own raise Failure(CODE, sentence).

        What it says and then returns a code for, codes that it returns with a sentence, and sys.exit(sentence) are
        among them.
        """
        for call, function in module.calls:
            for scope in self._contexts(Scope(module, function)):
                if ast.unparse(call.func) == "sys.exit" and call.args:
                    for said in self.texts(call.args[0], scope, sentence=True):
                        if said.startswith(_OURS):
                            yield Sentence(*split(said.removeprefix(_OURS)), 1, call.lineno)
        for call, function in module.calls:
            for scope in self._contexts(Scope(module, function)):
                if len(call.args) != 2 or not self._is_failure(call.func, scope):
                    continue
                code = self._code(call.args[0], module)
                for said in self.texts(call.args[1], scope, sentence=True):
                    yield Sentence(*split(said), code, call.lineno)
        for name, function in module.functions.items():
            for node in ast.walk(function):
                pair = node.value if isinstance(node, ast.Return) else None
                if isinstance(pair, ast.Tuple) and len(pair.elts) == 2 and self._code(pair.elts[0], module):
                    for said in self.texts(pair.elts[1], Scope(module, function, above=(name,)), sentence=True):
                        if said.strip(f"{UNKNOWN} :"):
                            yield Sentence(*split(said), self._code(pair.elts[0], module), pair.lineno)
        yield from self._said(module)

    def texts(self, node: ast.expr, scope: Scope, *, sentence: bool = False) -> Texts:
        """Spell an expression, in every way that it can come out.

        Args:
            node: the expression.
            scope: where it stands.
            sentence: whether it is all of a sentence; in one, a single word is a value and not part of its wording.
        """
        found = tuple(dict.fromkeys(self._texts(node, scope)))
        if (
            sentence
            or isinstance(node, (ast.Constant, ast.JoinedStr, ast.FormattedValue, ast.Attribute))
            or _is_constant(node, scope)
        ):
            return found
        if any(" " in text.strip() for text in found):
            return tuple(dict.fromkeys(text if " " in text.strip() or not text else UNKNOWN for text in found))
        return (UNKNOWN,)

    def _texts(self, node: ast.expr, scope: Scope) -> Iterator[str]:
        if isinstance(node, ast.Constant):
            yield node.value if isinstance(node.value, str) else UNKNOWN
        elif isinstance(node, ast.JoinedStr):
            parts = [self.texts(part, scope) for part in node.values]
            yield from map("".join, product(*parts))
        elif isinstance(node, ast.FormattedValue):
            yield from self.texts(node.value, scope)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            pairs = product(self.texts(node.left, scope), self.texts(node.right, scope))
            yield from map("".join, pairs)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            yield from (_FORMAT.sub(UNKNOWN, text) for text in self.texts(node.left, scope))
        elif isinstance(node, ast.IfExp):
            for branch in (node.body, node.orelse):
                yield from self.texts(branch, scope)
        elif isinstance(node, ast.Name):
            yield from self._named(node.id, scope)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "str" and isinstance(node.args[0], ast.Name):
            yield from self._caught(node.args[0].id, scope)
        elif isinstance(node, ast.Call):
            yield from self._called(node, scope, yields=False)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield from self._attribute(node.value.id, node.attr, scope)
        else:
            yield UNKNOWN

    def _named(self, name: str, scope: Scope) -> Iterator[str]:
        if name in scope.bound:
            yield from scope.bound[name]
        elif scope.function is not None and name in _parameters(scope.function):
            yield UNKNOWN
        elif scope.function is not None and (values := list(_locals(scope.function, name))):
            # What is made of itself, as the next page's address is of this one's, comes to no end.
            before = Scope(scope.module, scope.function, {**scope.bound, name: (UNKNOWN,)}, scope.above)
            for value, loop in values:
                if loop:
                    yield from self._called(value, before, yields=True)
                elif isinstance(value, (ast.Constant, ast.JoinedStr, ast.BinOp, ast.IfExp, ast.Call)):
                    yield from self.texts(value, before)
                else:
                    yield UNKNOWN
        elif name in scope.module.constants:
            value = scope.module.constants[name]
            yield from self._texts(value, Scope(scope.module)) if not isinstance(value, ast.Call) else [UNKNOWN]
        else:
            yield from self._imported(name, scope)

    def _imported(self, name: str, scope: Scope) -> Iterator[str]:
        where, what = scope.module.imported.get(name, ("", ""))
        module = self.modules.get(where)
        if module is not None and what in module.constants:
            yield from self._named(what, Scope(module))
        else:
            yield UNKNOWN

    def _attribute(self, name: str, attribute: str, scope: Scope) -> Iterator[str]:
        """Spell a path of ours, another module's constant, or a field, by what it is made with."""
        if name == "self":
            yield from self._field(attribute, scope)
            return
        module = self._module(name, scope)
        value = module.constants.get(attribute) if module else None
        if module is None or value is None:
            yield UNKNOWN
        else:
            yield _path(value, module) or next(iter(self._texts(value, Scope(module))))

    def _field(self, attribute: str, scope: Scope) -> Iterator[str]:
        for one in scope.module.classes.values():
            fields = [
                it.target.id for it in one.body if isinstance(it, ast.AnnAssign) and isinstance(it.target, ast.Name)
            ]
            for module in self.modules.values() if attribute in fields else ():
                for call, caller in module.calls:
                    if isinstance(call.func, ast.Name) and call.func.id == one.name:
                        given = {
                            **dict(zip(fields, call.args)),
                            **{it.arg: it.value for it in call.keywords if it.arg},
                        }
                        if attribute in given:
                            yield from self.texts(given[attribute], Scope(module, caller, {}, scope.above))
        yield UNKNOWN

    def _caught(self, name: str, scope: Scope) -> Iterator[str]:
        """Spell what an error says that is none of :attr:`errors`, where it is caught: ``str(error)``."""
        for node in _within(scope.function) if scope.function else ():
            if isinstance(node, ast.ExceptHandler) and node.name == name and isinstance(node.type, ast.Name):
                kind = node.type.id
                if kind in scope.module.classes and kind not in self.errors and kind not in scope.above:
                    for call, caller in scope.module.calls:
                        if isinstance(call.func, ast.Name) and call.func.id == kind and call.args:
                            inside = Scope(scope.module, caller, {}, (*scope.above, kind))
                            yield from self.texts(call.args[0], inside)
                    return
        yield UNKNOWN

    def _module(self, name: str, scope: Scope) -> Module | None:
        where, what = scope.module.imported.get(name, ("", ""))
        return self.modules.get(f"{where}.{what}")

    def _called(self, node: ast.expr, scope: Scope, *, yields: bool) -> Iterator[str]:
        """Spell what a function of ours returns, or yields."""
        module, function = self._function(node, scope)
        if not isinstance(node, ast.Call) or function is None or len(scope.above) > _DEEP:
            yield UNKNOWN
            return
        if function.name in scope.above:
            return
        bound = self._bind(function, node, scope)
        inside = Scope(module, function, bound, (*scope.above, function.name))
        for one in _within(function):
            if yields and isinstance(one, ast.YieldFrom):
                yield from self._called(one.value, inside, yields=True)
            elif isinstance(one, ast.Yield if yields else ast.Return) and one.value is not None:
                yield from self.texts(one.value, inside)

    def _function(self, node: ast.expr, scope: Scope) -> tuple[Module, Function | None]:
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            module = scope.module if called.value.id in ("self", "cls") else self._module(called.value.id, scope)
            return module or scope.module, module.functions.get(called.attr) if module else None
        if not isinstance(called, ast.Name):
            return scope.module, None
        where, what = scope.module.imported.get(called.id, ("", called.id))
        module = self.modules.get(where, scope.module)
        return module, module.functions.get(what)

    def _bind(self, function: Function, call: ast.Call, scope: Scope) -> dict[str, Texts]:
        names = [name for name in _parameters(function) if name not in ("self", "cls")]
        passed = dict(zip(names, call.args))
        passed.update({one.arg: one.value for one in call.keywords if one.arg})
        found = {name: self.texts(value, scope) for name, value in passed.items()}
        for name, default in _defaults(function):
            found.setdefault(name, self.texts(default, Scope(scope.module)))
        return found

    def _contexts(self, scope: Scope) -> list[Scope]:
        """List the ways in which a function is called; one way where nobody calls it by its name."""
        function = scope.function
        if function is None or function.name in scope.above or len(scope.above) > 1:
            return [scope]
        found = []
        for module, call, caller in self._callers.get(id(function), ()):
            for above in self._contexts(Scope(module, caller, {}, (*scope.above, function.name))):
                found.append(Scope(scope.module, function, self._bind(function, call, above), scope.above))
        return found or [scope]

    @cached_property
    def _callers(self) -> dict[int, list[tuple[Module, ast.Call, Function | None]]]:
        """Who calls each function of ours."""
        found: dict[int, list[tuple[Module, ast.Call, Function | None]]] = {}
        for module in self.modules.values():
            for call, caller in module.calls:
                function = self._function(call, Scope(module))[1]
                if function is not None:
                    found.setdefault(id(function), []).append((module, call, caller))
        return found

    def _said(self, module: Module) -> Iterator[Sentence]:
        """Find what is said where an error would be: a complaint, after which a code is returned or all goes on."""
        for node in ast.walk(module.tree):
            body = getattr(node, "body", None)
            for one, after in zip(body, [*body[1:], None]) if isinstance(body, list) else ():
                call = one.value if isinstance(one, ast.Expr) and isinstance(one.value, ast.Call) else None
                if call is None or len(call.args) != 1:
                    continue
                code = self._code(after.value, module) if isinstance(after, ast.Return) and after.value else None
                how = ast.unparse(call.func)
                if not (how.endswith("complain") or how == "sys.stderr.write" or (code and how == "say")):
                    continue
                scope = Scope(module, next((it for it in module.functions.values() if one in ast.walk(it)), None))
                for text in self.texts(call.args[0], scope, sentence=True):
                    if how == "sys.stderr.write" and not text.startswith(_OURS):
                        continue  # a program of its own, or what another one said
                    said = text.strip().removeprefix(_OURS)
                    # Else it is the verb and an error, or an error alone, which is found where it is raised.
                    if not f": {said}".endswith(f": {UNKNOWN}"):
                        yield Sentence(*split(said), code, call.lineno)

    def _code(self, node: ast.expr | None, module: Module) -> int | None:
        value: ast.expr | None = node
        if isinstance(node, ast.Name):
            value = module.constants.get(node.id)
        return value.value if isinstance(value, ast.Constant) and type(value.value) is int else None

    def _is_failure(self, called: ast.expr, scope: Scope) -> bool:
        if not isinstance(called, ast.Name):
            return False
        if called.id in scope.module.classes:
            bases = [base.id for base in scope.module.classes[called.id].bases if isinstance(base, ast.Name)]
            return called.id == "Failure" or "Failure" in bases
        chosen = [value for value, _ in _locals(scope.function, called.id)] if scope.function else []
        return any(isinstance(one, ast.IfExp) and self._is_failure(one.body, scope) for one in chosen)


def again(call: ast.Call) -> bool:
    """Whether an error is raised with another one's words: ``DroplanError(error.plain)``."""
    return isinstance(call.args[0], ast.Attribute) and call.args[0].attr == "plain"


def split(said: str) -> tuple[str, str]:
    """Cut a sentence in what is wrong and what to do: at the first colon that is in no parentheses and no backquotes.

    "SETTING: 10.1.2.3/8 names a host ...: write 10.0.0.0/8" has its subject before the first one.
    """
    subject = _SUBJECT.match(said)
    depth, quoted = 0, False
    for place in range(subject.end() if subject else 0, len(said)):
        char = said[place]
        quoted ^= char == "`"
        depth += (char == "(") - (char == ")")
        if not depth and not quoted and said.startswith(": ", place):
            return said[:place], said[place + 2 :]
    return said, ""


def _path(node: ast.expr | None, module: Module) -> str:
    """Spell ``Path("/etc") / "droplan"``; "" where it is something else."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Path" and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant):
        above = _path(node.left, module)
        return f"{above}/{node.right.value!s}" if above else ""
    return _path(module.constants.get(node.id), module) if isinstance(node, ast.Name) else ""


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """List the names that a statement sets; None where a tuple is taken apart."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for one, value in zip(target.elts, node.value.elts):
                    if isinstance(one, ast.Name):
                        yield one.id, value
            elif isinstance(target, ast.Tuple):
                yield from ((one.id, None) for one in target.elts if isinstance(one, ast.Name))
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id, node.value


def _is_constant(node: ast.expr, scope: Scope) -> bool:
    return isinstance(node, ast.Name) and node.id in {**scope.module.constants, **scope.module.imported}


def _parameters(function: Function) -> list[str]:
    given = function.args
    return [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]


def _defaults(function: Function) -> Iterator[tuple[str, ast.expr]]:
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    for one, value in zip(positional[len(positional) - len(given.defaults) :], given.defaults):
        yield one.arg, value
    for one, default in zip(given.kwonlyargs, given.kw_defaults):
        if default is not None:
            yield one.arg, default


def _locals(function: Function, name: str) -> Iterator[tuple[ast.expr, bool]]:
    """List what a variable of a function is set to, and whether it is each of what that yields."""
    for node in _within(function):
        for found, value in _assigned(node):
            if found == name:
                yield value if value is not None else ast.Constant(None), False
        if isinstance(node, ast.For) and isinstance(node.target, ast.Name) and node.target.id == name:
            yield node.iter, True


def _within(function: Function) -> Iterator[ast.AST]:
    """Walk a function without the functions in it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting = [*ast.iter_child_nodes(node), *waiting]
