"""Errors of text that is not JSON (RFC 8259)."""

from __future__ import annotations

import pytest
from google.protobuf import any_pb2, struct_pb2
from hypothesis import given, strategies as st

from hub.contract import InvalidDocument, MalformedJson, NotJsonRepresentable, Transcoder
from hub.contract.errors import MAX_PROBLEMS
from tests.contract.test_transcoder import DIGITS, HOLDER, ORDER, VALUE

BOM = b"\xef\xbb\xbf"
ANY = Transcoder(any_pb2.Any.DESCRIPTOR)


def refusal(text: bytes) -> str:
    with pytest.raises(MalformedJson) as caught:
        VALUE.decode_json(text)
    assert str(caught.value) == f"line {caught.value.line}, column {caught.value.column}: {caught.value.reason}"
    return str(caught.value)


def test_a_byte_order_mark_at_the_start_is_ignored() -> None:
    assert VALUE.decode_json(BOM + b'{"a":1}') == VALUE.decode_json(b'{"a":1}')
    assert refusal(BOM) == "line 1, column 1: the text is empty"
    with pytest.raises(InvalidDocument):
        DIGITS.decode_json(BOM + b'{"pixels":[1],"pixels":[2]}')


@pytest.mark.parametrize("text", [BOM + BOM + b"1", b"[" + BOM + b"1]", b"{" + BOM + b'"a":1}'])
def test_a_byte_order_mark_elsewhere_is_named(text: bytes) -> None:
    assert "a byte order mark can only stand at the start of the text" in refusal(text)


@pytest.mark.parametrize("document", ['{"a":1}', '{"é":1}', "12", "[]"])
@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-16", "UTF-16, little-endian"),
        ("utf-16-le", "UTF-16, little-endian"),
        ("utf-16-be", "UTF-16, big-endian"),
        ("utf-32", "UTF-32, little-endian"),
        ("utf-32-le", "UTF-32, little-endian"),
        ("utf-32-be", "UTF-32, big-endian"),
    ],
)
def test_other_encodings_are_named(document: str, encoding: str, name: str) -> None:
    assert refusal(document.encode(encoding)) == (
        f"line 1, column 1: the text is in {name}: JSON is exchanged in UTF-8 (RFC 8259 section 8.1)"
    )


@pytest.mark.parametrize(
    ("text", "column"),
    [
        (rb'{"s":"\ud800"}', 7),
        (rb'{"s":"\uDC00"}', 7),
        (rb'{"s":"\ud800\u0041"}', 7),
        (rb'{"s":"\ud800abc"}', 7),
        (rb'{"s":"\ud800\\"}', 7),
        (rb'{"s":"\ud83d\ude00\ud83d"}', 19),
        (rb'{"s":"\\ud800\ud800"}', 14),
        (rb'{"\udead":1}', 3),
        (rb'{"s":"\ud800","t":1e400}', 7),
    ],
)
def test_a_lone_surrogate_is_reported_with_its_position(text: bytes, column: int) -> None:
    assert refusal(text).startswith(f"line 1, column {column}: \\u")
    assert "is a lone surrogate, half of a character" in refusal(text)


def test_a_pair_of_surrogates_and_an_escaped_backslash_are_valid() -> None:
    found = struct_pb2.Value.FromString(VALUE.decode_json(rb'["\ud83d\ude00", "\\ud800"]'))
    assert [each.string_value for each in found.list_value.values] == ["\U0001f600", "\\ud800"]


@pytest.mark.parametrize(
    "text", [rb'{"s":"\ud83d', rb'{"s":"\ud83d\u', rb'{"s":"\ud83d\udc', rb'"\u12', rb'"\ ', b'{"a"', b"tru"]
)
def test_truncated_text_is_reported_as_ending_too_early(text: bytes) -> None:
    reason = refusal(text.rstrip(b" "))
    assert reason == f"line 1, column {len(text.rstrip(b' ')) + 1}: the text ends too early"


@pytest.mark.parametrize("text", [b"", b" \n\t\r "])
def test_an_empty_text_is_reported_as_empty(text: bytes) -> None:
    assert refusal(text).endswith("the text is empty")


@pytest.mark.parametrize(
    ("text", "column", "reason"),
    [
        (b'{"s":"a\nb"}', 8, "the control character U+000A in a string: write it as \\u000a"),
        (b'{"s":"a\\"\tb"}', 10, "the control character U+0009 in a string: write it as \\u0009"),
        (b'{"s":"\x00"}', 7, "the control character U+0000 in a string: write it as \\u0000"),
        (b"\x00\x00", 1, "the character U+0000 cannot stand here"),
        (b'{"s":1,}', 8, "trailing comma in object"),
        (b'{"s":1,]', 8, "trailing comma in object"),
        (b"[1,]", 4, "trailing comma in array"),
        (b"[1,,2]", 4, "a value is missing before the comma"),
        (b'{"a":}', 6, "a value is missing before the brace"),
        (b"{'s':1}", 2, "a single quote: strings and names stand in double quotes"),
        (b"{\"s\":'x'}", 6, "a single quote: strings and names stand in double quotes"),
        ('{"s":“x”}'.encode(), 6, "a typographic quote: strings and names stand in straight double quotes"),
        (b"{s:1}", 2, "the name of a member must be a string in double quotes"),
        (b"{1:2}", 2, "the name of a member must be a string in double quotes"),
        (b"[NaN]", 2, "'NaN' is not JSON: write \"NaN\", a string, where the field is a float or double"),
        (b"[nan]", 2, "'nan' is not JSON: write \"NaN\", a string, where the field is a float or double"),
        (
            b"[Infinity]",
            2,
            "'Infinity' is not JSON: write \"Infinity\", a string, where the field is a float or double",
        ),
        (
            b"[-Infinity]",
            2,
            "'-Infinity' is not JSON: write \"-Infinity\", a string, where the field is a float or double",
        ),
        (b"[None]", 2, "'None' is not JSON: write null"),
        (b"[True]", 2, "'True' is not JSON: write true"),
        (b"[undefined]", 2, "'undefined' is not JSON: write null"),
        (b"[nul, 1]", 2, "'nul' is not JSON: a string stands in double quotes"),
        (b"[null, hello]", 8, "'hello' is not JSON: a string stands in double quotes"),
        (b"a=1&b=2", 1, "'a' is not JSON: a string stands in double quotes"),
        (b"// c\n{}", 1, "JSON has no comments"),
        (b"{/* c */}", 2, "JSON has no comments"),
        (b'{"a":1 // c\n}', 8, "JSON has no comments"),
        (b"{} # c", 4, "JSON has no comments"),
        (b"[01]", 3, "a number has no leading zeros"),
        (b"[-007]", 4, "a number has no leading zeros"),
        (b"[1.]", 4, "a number needs a digit after its point"),
        (b"[.5]", 2, "a number needs a digit before its point"),
        (b"[+1]", 2, "a number has no plus sign"),
        (b"[1e]", 4, "a number needs a digit in its exponent"),
        (b"[-]", 3, "a number needs a digit after its minus sign"),
        (b"[0x10]", 3, "numbers are decimal in JSON"),
        (b"[1_000]", 3, "a number has no underscores"),
        (rb'["\x41"]', 3, '\\x is no escape: a backslash in a string stands before one of " \\ / b f n r t u'),
        (rb'["\uG124"]', 3, "\\u needs four hexadecimal digits"),
        (rb'["\u12G4"]', 3, "\\u needs four hexadecimal digits"),
        (b"{}{}", 3, "the JSON text has ended before: one document is expected"),
        (b'{"a" 1}', 6, "expected ':'"),
        (b'{"a":1 "b":2}', 8, "expected ',' or '}'"),
        (b"\x1f\x8b\x08\x00", 1, "the text is compressed (gzip)"),
        (b"[\xff]", 2, "not UTF-8"),
        (b"<html>", 1, "the character '<' cannot stand here"),
        ("[\u00a01]".encode(), 2, "a no-break space: JSON has spaces, tabs and line ends between its parts"),
    ],
)
def test_each_fault_is_named(text: bytes, column: int, reason: str) -> None:
    assert refusal(text) == f"line 1, column {column}: {reason}"


@given(
    st.one_of(
        st.binary(max_size=40),
        st.text("[]{}\",:'0123456789.eE+-naNtrufls\\ud8DC/# \n\t\ufeff", max_size=40).map(str.encode),
    )
)
def test_anything_is_json_or_refused_with_a_short_reason_and_a_place_in_it(text: bytes) -> None:
    found: MalformedJson | None = None
    try:
        VALUE.decode_json(text)
    except MalformedJson as error:
        found = error
    except InvalidDocument:
        pass
    if found is not None:
        assert len(found.reason) < 200
        assert 1 <= found.line <= text.count(b"\n") + 1
        assert 1 <= found.column <= len(text) + 1


def test_a_reason_takes_one_pass_whatever_the_text_is() -> None:
    # A pattern that goes back would take hours here, and run into the time limit of the tests.
    for text in (
        b'["' + b'\\"' * 1_000_000 + b"\n",
        b'["' + rb"\ud83d\ude00" * 300_000 + rb"\ud83d" b'"]',
        b"[" + b'"\\\\",' * 500_000 + b"'",
    ):
        assert refusal(text)


def test_the_text_about_one_path_is_bounded() -> None:
    name = "n" * 100_000
    with pytest.raises(InvalidDocument) as caught:
        ORDER.decode_json(f'{{"items":[{{"{name}":1}}]}}'.encode())
    (problem,) = caught.value.problems
    assert problem.pointer == "/items/0"
    assert problem.message.startswith("in the member 'nnnnnnnn")
    assert "shop.Item has no such field" in problem.message
    with pytest.raises(InvalidDocument) as caught:
        ANY.decode_json(f'{{"@type":"{name}"}}'.encode())
    assert len(str(caught.value)) < 600


def test_an_error_reports_that_its_list_is_incomplete() -> None:
    text = b'{"pixels": [' + b",".join([b'"x"'] * (MAX_PROBLEMS + 1)) + b"]}"
    with pytest.raises(InvalidDocument) as caught:
        DIGITS.decode_json(text)
    assert len(caught.value.problems) == MAX_PROBLEMS
    assert caught.value.extensions["errors_complete"] is False
    assert "and 95 more in `errors`, where the list ends" in str(caught.value)
    assert len(str(caught.value)) < 1000

    with pytest.raises(InvalidDocument) as caught:
        DIGITS.decode_json(b'{"pixels": ["a","b","c","d","e","f","g"]}')
    assert len(caught.value.problems) == 7
    assert "errors_complete" not in caught.value.extensions
    assert str(caught.value).endswith("; and 2 more in `errors`")


@pytest.mark.parametrize("depth", [100, 101, 300, 900, 995, 5000])
def test_documents_nested_too_deep_are_refused_with_that_reason(depth: int) -> None:
    of_any = b'{"@type":"type.googleapis.com/google.protobuf.Any","value":' * depth + b"{}" + b"}" * depth
    of_value = b'{"a":' * depth + b"1" + b"}" * depth
    unknown = b'{"x":' + b"[" * depth + b"]" * depth + b"}"
    for transcoder, text in ((ANY, of_any), (VALUE, of_value), (Transcoder(HOLDER), unknown)):
        with pytest.raises((InvalidDocument, MalformedJson)) as caught:
            transcoder.decode_json(text)
        assert "deep" in str(caught.value) or "no such field" in str(caught.value)


def test_a_message_with_too_many_nested_any_has_no_json_form() -> None:
    message = any_pb2.Any()
    for _ in range(3000):
        outer = any_pb2.Any()
        outer.Pack(message)
        message = outer
    with pytest.raises(NotJsonRepresentable, match="deep"):
        ANY.encode_json(message)
