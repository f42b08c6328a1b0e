"""What is told of an exception is short, whatever the exception is."""

from __future__ import annotations

import json
import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from typing_extensions import override

from hub.errors import UnknownModel
from hub.observability.code_origin import add_author
from hub.observability.tracebacks import (
    LOG_LINES,
    WIDTH,
    describe,
    keep_text,
    lines,
    members,
    runs_foreign_code,
    text_of_error,
)
from hub.types import model_name


def raised(fail: Callable[[], object]) -> BaseException:
    try:
        fail()
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("nothing was raised")


def fail(error: BaseException) -> None:
    raise error


def text_of(fail: Callable[[], object], limit: int = LOG_LINES) -> str:
    return "\n".join(lines(describe(raised(fail)), limit))


class Huge(Exception):
    @override
    def __str__(self) -> str:
        return "x" * 3_000_000


class Broken(Exception):
    @override
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Leaves(Exception):
    @override
    def __str__(self) -> str:  # noqa: PLE0307 - the point
        sys.exit(3)


class Counted(Exception):
    asked = 0

    @override
    def __str__(self) -> str:
        self.asked += 1
        return f"asked {self.asked}"


class NotQuiteText(str):
    __slots__ = ()

    @override
    def __len__(self) -> int:
        raise RuntimeError("no length")


class OddNotes(Exception):
    __notes__ = 17  # type: ignore[assignment]


def recurse(depth: int) -> int:
    return recurse(depth + 1)


def chain(length: int) -> BaseException:
    error: BaseException = KeyError("first cause")
    for number in range(length):
        outer = ValueError(number)
        outer.__cause__ = error
        error = outer
    return error


def circle() -> BaseException:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def group(depth: int, width: int) -> BaseException:
    if depth == 0:
        return KeyError("leaf")
    return ExceptionGroup("many", [group(depth - 1, width) for _ in range(width)])  # type: ignore[type-var]


def noted() -> BaseException:
    error = ValueError("noted")
    for number in range(1000):
        error.add_note(f"note {number}\n" * 10_000)
    return error


def misread() -> object:
    return compile("x = (" + "1 + " * 200_000 + "\n)", "models.py", "exec")


CASES: dict[str, tuple[Callable[[], object], str]] = {
    "short": (lambda: fail(ValueError("no such voice")), "ValueError: no such voice"),
    "long word": (lambda: fail(ValueError("3f" * 50_000)), "ValueError: 3f3f3f"),
    "huge text": (lambda: fail(Huge()), "Huge: xxx"),
    "no text": (lambda: fail(Broken()), "Broken: (the error could not be shown: RuntimeError)"),
    "its text leaves": (lambda: fail(Leaves()), "Leaves: (the error could not be shown: SystemExit)"),
    "empty": (lambda: fail(RuntimeError()), "RuntimeError"),
    "a subclass of str": (lambda: fail(ValueError(NotQuiteText("odd"))), "ValueError: odd"),
    "line ends": (lambda: fail(ValueError("one\ntwo\r\nthree\u2028four")), r"one\ntwo\r\nthree\u2028four"),
    "terminal escapes": (lambda: fail(ValueError("\x1b[2J\x07\x9b")), r"\x1b[2J\x07\x9b"),
    "another direction": (lambda: fail(ValueError("\u202egnp.exe")), r"\u202egnp.exe"),
    "lone surrogate": (lambda: fail(ValueError("a\udc80b")), "ValueError: a?b"),
    "a large list": (lambda: fail(ValueError(list(range(1_000_000)))), "[0, 1, 2"),
    "a large dict as a key": (lambda: fail(KeyError({n: n for n in range(300_000)})), "and 299980 more"),
    "a large key": (lambda: fail(KeyError("k" * 5_000_000)), "KeyError: 'kkk"),
    "a large number": (lambda: fail(ValueError(10**100_000)), "(a number of 332193 bits)"),
    "many arguments": (lambda: fail(ValueError(*range(100_000))), "(0, 1, 2"),
    "recursion": (lambda: recurse(0), "RecursionError"),
    "a deep chain": (lambda: fail(chain(50_000)), "ValueError: 49999"),
    "a circle of causes": (lambda: fail(circle()), "caused by ValueError: two"),
    "a wide group": (lambda: fail(group(1, 10_000)), "1 of 10000: KeyError: 'leaf'"),
    "a deep group": (lambda: fail(group(6, 3)), "ExceptionGroup: many"),
    "notes": (lambda: fail(noted()), r"note: note 0\nnote 0\n"),
    "odd notes": (lambda: fail(OddNotes("text")), "OddNotes: text"),
    "a long line of source": (misread, 'File "models.py", line '),
}


@pytest.mark.parametrize(("cause", "expected"), CASES.values(), ids=CASES.keys())
def test_a_failure_is_a_few_short_printable_lines(cause: Callable[[], object], expected: str) -> None:
    written = lines(describe(raised(cause)))

    assert expected in "\n".join(written)
    assert len(written) <= LOG_LINES
    assert all(len(line) <= WIDTH and line.isprintable() for line in written)


@pytest.mark.parametrize("cause", [case[0] for case in CASES.values()], ids=CASES.keys())
def test_the_json_form_is_bounded(cause: Callable[[], object]) -> None:
    document = json.dumps(members(describe(raised(cause)), frames=2, text=100))

    assert len(document) < 20_000


def test_frames_are_the_authors_innermost_first_and_ours_are_a_count() -> None:
    def authors_code() -> None:
        model_name("not a name!")

    written = text_of(authors_code)

    assert written.splitlines()[0].startswith("hub.errors.InvalidName: 'not a name!'")
    assert 'test_tracebacks.py", line ' in written.splitlines()[1]
    assert "in test_frames_are_the_authors_innermost_first_and_ours_are_a_count.<locals>.authors_code" in written
    assert written.splitlines()[2] == '    model_name("not a name!")'
    assert written.splitlines()[-1] == "  and frames that are left out: 1 of hub"
    assert "vocabulary.py" not in written


def test_an_error_in_hub_shows_frames_of_hub() -> None:
    error = raised(lambda: model_name("not a name!"))
    while error.__traceback__ is not None and "vocabulary" not in error.__traceback__.tb_frame.f_code.co_filename:
        error.__traceback__ = error.__traceback__.tb_next

    assert 'vocabulary.py", line ' in "\n".join(lines(describe(error)))


def test_frames_of_a_library_are_shown_after_the_authors() -> None:
    written = text_of(lambda: json.loads("{"))

    files = [line.split('"')[1].rpartition("/")[2] for line in written.splitlines() if line.startswith("  File")]
    assert files[:2] == ["test_tracebacks.py", "test_tracebacks.py"]
    assert files[2:] == ["decoder.py", "decoder.py"]
    assert "left out: 1 others" in written


def test_the_code_of_a_model_in_an_installed_library_counts_as_the_authors(tmp_path: Path) -> None:
    place = tmp_path / "site-packages" / "speech" / "voices.py"
    place.parent.mkdir(parents=True)
    place.write_text("def pick():\n    raise LookupError('no such voice')\n")
    module = ModuleType("speech.voices")
    exec(compile(place.read_text(), str(place), "exec"), module.__dict__)

    def call() -> None:
        model_name("A")
        module.pick()

    before = text_of(call).splitlines()
    add_author("speech.models")
    after = text_of(call).splitlines()

    assert "test_tracebacks.py" in before[1]
    assert after[1] == f'  File "{place}", line 2, in pick'
    assert after[2] == "    raise LookupError('no such voice')"


def test_the_frames_of_a_recursion_are_counted_and_its_beginning_is_shown() -> None:
    written = text_of(lambda: recurse(0))

    assert (
        "in test_the_frames_of_a_recursion_are_counted_and_its_beginning_is_shown" in written or "in raised" in written
    )
    assert int(written.rpartition("left out: ")[2].split()[0]) > 900


def test_the_first_cause_of_a_long_chain_is_shown() -> None:
    written = text_of(lambda: fail(chain(500)))

    assert written.splitlines()[-1] == "492 errors further, caused by KeyError: 'first cause'"


def test_the_context_of_an_error_is_shown_unless_it_is_suppressed() -> None:
    def handle(*, suppress: bool) -> None:
        try:
            dict[str, int]()["key"]
        except KeyError:
            if suppress:
                raise ValueError("bad key") from None
            raise ValueError("bad key")  # noqa: B904 - the point

    assert "while handling KeyError: 'key'" in text_of(lambda: handle(suppress=False))
    alone = describe(raised(lambda: handle(suppress=True)))
    assert [each.kind for each in alone] == ["ValueError"]


def test_local_variables_are_not_shown() -> None:
    def sign_in() -> None:
        password = "s3" + "cret"
        raise ValueError("refused" if password else "")

    error = raised(sign_in)

    assert "s3cret" not in json.dumps(members(describe(error), frames=9, text=1000))
    assert "s3cret" not in "\n".join(lines(describe(error)))


def test_a_huge_source_file_is_not_read(tmp_path: Path) -> None:
    place = tmp_path / "generated.py"
    place.write_text("raise ValueError('here')\n" + "# filler\n" * 300_000)

    written = text_of(lambda: exec(compile("raise ValueError('here')", str(place), "exec")))

    assert f'File "{place}", line 1' in written
    assert str(place) not in linecache.cache


def test_a_longer_traceback_shows_more_of_a_chain() -> None:
    def nested(depth: int) -> None:
        if depth == 0:
            raise ValueError("deepest")
        try:
            nested(depth - 1)
        except ValueError as error:
            raise ValueError(str(depth)) from error

    error = raised(lambda: nested(5))

    assert len(lines(describe(error))) <= LOG_LINES < len(lines(describe(error), 60))


def test_the_text_of_an_error_is_read_once() -> None:
    error = Counted()

    assert [text_of_error(error), text_of_error(error), describe(error)[0].text] == ["asked 1"] * 3


def test_the_first_text_of_an_error_is_stored() -> None:
    error = Huge()
    keep_text(error, "it took too long")
    keep_text(error, "x")

    assert text_of_error(error) == "it took too long"


@pytest.mark.parametrize(
    ("error", "foreign"),
    [
        (ValueError("text"), False),
        (ValueError(1, None, b""), False),
        (OSError(2, "No such file", "weights.bin"), False),
        (UnknownModel("x"), False),
        (ExceptionGroup("many", [Huge()]), False),
        (ValueError(object()), True),
        (ValueError([]), True),
        (ValueError(NotQuiteText("odd")), True),
        (Huge(), True),
    ],
)
def test_errors_whose_text_may_run_foreign_code_are_recognized(error: BaseException, foreign: bool) -> None:
    assert runs_foreign_code(error) is foreign
