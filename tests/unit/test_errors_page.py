"""The page of errors lists every sentence that the source can end with, and nothing else."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import droplan_boot
from droplan_boot.errors import DroplanError
from tests.golden import errors
from tests.golden.sentences import Sentence, Source, again


@pytest.fixture(scope="module")
def source() -> Source:
    """Return the program, read."""
    return errors.program()


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return what reads the sentences of a module of two classes of errors, and of the code that is given."""
    return Read(tmp_path)


class Read:
    """What reads a module's sentences: each with its cause, its remedy and its exit code."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def __call__(self, **modules: str) -> list[tuple[str, str, int | None]]:
        paths = []
        for name, code in modules.items():
            paths.append(self.top / f"{name}.py")
            paths[-1].write_text(KINDS + code)
        source = Source(self.top, paths)
        return sorted(one[:3] for path in paths for one in map(_fields, errors.sentences(source, path)))


SOURCES = (errors.PYZ / "__main__.py", errors.PYZ / "unpack.py")
KINDS = """\
class UsageError(DroplanError):
    exit_code = 2
class LateError(NoAnswerError):
    pass
class NoAnswerError(DroplanError):
    pass
"""


def _fields(one: Sentence) -> tuple[str, str, int | None]:
    return one.cause, one.remedy, one.exit_code


def test_the_page_is_what_the_source_says() -> None:
    assert errors.PAGE.read_text() == errors.render(), "run `python -m tests.golden.errors`, and read what it changed"


def raised() -> Iterator[tuple[Path, ast.Call]]:
    """Find all that makes an error of droplan's, by the classes that there are when all of it is imported."""
    kinds = set()
    for module in pkgutil.walk_packages(droplan_boot.__path__, "droplan_boot."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    waiting = [DroplanError]
    while waiting:
        kind = waiting.pop()
        kinds.add(kind.__name__)
        waiting += kind.__subclasses__()
    for path in sorted(errors.PROGRAM.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            name = (
                called.id
                if isinstance(called, ast.Name)
                else called.attr
                if isinstance(called, ast.Attribute)
                else ""
            )
            if isinstance(node, ast.Call) and name in kinds:
                yield path, node


def test_every_error_that_is_made_anywhere_is_on_the_page(source: Source) -> None:
    page = set(errors.PAGE.read_text().splitlines())
    found = [(path, call.lineno) for path, call in raised() if not again(call)]  # else another error's words
    assert len(found) > 100
    read = {path: errors.sentences(source, path) for path in {path for path, _ in found}}
    for path, line in found:
        those = [one for one in read[path] if one.line == line]
        where = f"{path.relative_to(errors.CHECKOUT)}:{line}"
        assert [one for one in those if one.cause.strip("… :")], f"{where}: nobody can read what it says"
        assert {errors.row(one) for one in those} <= page, where


def test_every_failure_of_the_bootstrap_is_on_the_page() -> None:
    page, found = errors.PAGE.read_text(), errors.bootstrap()
    stage0, close, shell = found.values()
    text = (errors.STAGE0 / "bootstrap.py").read_text()
    made = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r"(raise|return|,) (Failure|Passing|kind)\(", line)
    ]
    assert len(made) > 15
    assert {*made} <= {one.line for one in stage0}
    codes = {int(code) for code in re.findall(r"^ +(\d+)  \S", text, re.MULTILINE)}
    assert codes == {one.exit_code for one in stage0}, "its --help lists the codes"
    assert sorted(one.cause for one in close if one.exit_code == 1) == [
        "The private interface is OPEN: nothing here can close it (…)",
        "The private interface is OPEN: the metadata service does not say which it is (…)",
    ]
    assert {errors.row(one) for one in (*stage0, *close, *shell)} <= set(page.splitlines())
    loud = "droplan BOOTSTRAP FAILED, "
    assert loud in (errors.STAGE0 / "bootstrap.sh").read_text()
    assert loud in page


def test_every_failure_to_start_is_on_the_page() -> None:
    page, said = set(errors.PAGE.read_text().splitlines()), {one.cause for one in errors.zipapp()}
    made = re.findall(
        r"^ +(?:fail|sys\.exit|sys\.stderr\.write)\(", "".join(map(Path.read_text, SOURCES)), re.MULTILINE
    )
    assert len(said) == len(made) - 1, "all but what all failures end in is a sentence of its own"
    assert {errors.row(one) for one in errors.zipapp()} <= page
    assert "needs Python 3.9 or newer, and … is …" in said


def test_a_sentence_is_found_with_its_cause_its_remedy_and_its_exit_code(read: Read) -> None:
    code = """
def f(name, why):
    if name:
        raise UsageError(f'{name} is no tag: set another')
    return NoAnswerError(f'{why} is late', 'wait for it')
"""
    assert read(module=code) == [("… is late", "wait for it", 1), ("… is no tag", "set another", 2)]


CALLED = "def f(x):\n    raise UsageError({})\n"
VARIABLE = """
def f(x):
    why = 'it is old'
    if x:
        why = 'it is new'
    raise UsageError(why)
"""
YIELDED = """
def f():
    for one in whys():
        raise UsageError(one)
def whys():
    yield 'it is old'
    yield from others()
def others():
    yield 'it is new'
"""
PASSED = """
def f():
    fail('it is late')
def fail(why):
    raise UsageError(f'no ({why})')
"""


@pytest.mark.parametrize(
    ("code", "causes"),
    [
        pytest.param(CALLED.format("f'it is {x}'"), ["it is …"], id="value"),
        pytest.param(CALLED.format("'it is %s' % x"), ["it is …"], id="percent"),
        pytest.param(CALLED.format("'it is ' + x"), ["it is …"], id="sum"),
        pytest.param(CALLED.format("'it is old' if x else 'it is new'"), ["it is new", "it is old"], id="both"),
        pytest.param(CALLED.format("f\"it {'is old' if x else 'is new'}\""), ["it is new", "it is old"], id="branch"),
        pytest.param(CALLED.format("WHY") + "WHY = 'it is late'", ["it is late"], id="constant"),
        pytest.param(VARIABLE, ["it is new", "it is old"], id="variable"),
        pytest.param(CALLED.format("why()") + "def why():\n    return 'it is late'", ["it is late"], id="returned"),
        pytest.param(YIELDED, ["it is new", "it is old"], id="yielded"),
        pytest.param(PASSED, ["no (it is late)"], id="passed"),
        pytest.param(CALLED.format("'it is late'").replace("Usage", "Late"), ["it is late"], id="subclass"),
        pytest.param("def f(log):\n    log.complain('it is late')", ["it is late"], id="complaint"),
    ],
)
def test_a_sentence_is_followed_to_where_it_is_made(read: Read, code: str, causes: list[str]) -> None:
    assert [cause for cause, _, _ in read(module=code)] == causes


def test_a_sentence_is_followed_into_other_modules(read: Read) -> None:
    here = "from there import why, fail\ndef f():\n    raise UsageError(why())\ndef g():\n    fail('it is odd')\n"
    there = "def why():\n    return 'it is late'\ndef fail(why):\n    raise UsageError(f'no ({why})')\n"
    assert [cause for cause, _, _ in read(here=here, there=there)] == ["it is late", "no (it is odd)"]


def test_what_cannot_be_read_is_said_to_be_unreadable(read: Read) -> None:
    assert read(module=CALLED.format("', '.join(x)")) == [("…", "", 2)]
