"""Source text for a page: coloured line by line, and with what of it ran."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import PurePath
from typing import Any, NamedTuple

from markupsafe import Markup, escape
from pygments.lexer import Lexer
from pygments.lexers import PythonLexer, TextLexer, VyperLexer
from pygments.token import Comment, Keyword, Name, Number, String, _TokenType

from lockstep.coverage.probes import Branch
from lockstep.coverage.record import told

# The first that a token is part of decides; what is none of them stays plain.
CLASSES: tuple[tuple[_TokenType, str], ...] = (
    (Comment, "c"),
    (String, "s"),
    (Number, "n"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Decorator, "k"),
    (Keyword, "k"),
)

HIT, PARTLY, MISSED, UNREACHABLE = "hit", "partly", "missed", "unreachable"
GLYPHS = {HIT: "│", PARTLY: "◐", MISSED: "✗", UNREACHABLE: "-", "": ""}


def coloured(path: str, text: str) -> list[Markup]:
    """The lines of a Vyper or Python file as HTML."""
    lines: list[list[str]] = [[]]
    for token, piece in _lexer(path).get_tokens(text):
        name = _class(token)
        for i, part in enumerate(piece.split("\n")):
            if i:
                lines.append([])
            if part:
                shown = escape(part)
                is_plain = not name or part.isspace()
                lines[-1].append(shown if is_plain else f'<i class="{name}">{shown}</i>')
    # Every piece of it was escaped above.
    return [Markup("".join(line)) for line in lines[: len(text.splitlines())]]


@cache
def _class(token: _TokenType) -> str:
    return next((name for kind, name in CLASSES if token in kind), "")


def _lexer(path: str) -> Lexer:
    options = {"stripnl": False, "ensurenl": False}
    suffix = PurePath(path).suffix
    if suffix in (".vy", ".vyi"):
        return VyperLexer(**options)
    return PythonLexer(**options) if suffix == ".py" else TextLexer(**options)


class Row(NamedTuple):
    """One line of an annotated file."""

    number: int
    status: str  # "" for a line without code
    html: Markup
    notes: list[str]


def annotated(path: str, text: str, entry: Mapping[str, Any]) -> list[Row]:
    """The lines of a file with what became of each, by the file's entry in the summary."""
    missed: dict[int, list[Mapping[str, Any]]] = {}
    for item in entry["missed"]:
        missed.setdefault(item["number"], []).append(item)
    code = set(entry["code"])
    return [
        Row(number, _status(number in code, missed.get(number, ())), html, _notes(missed, number))
        for number, html in enumerate(coloured(path, text), 1)
    ]


def _status(is_code: bool, missed: Sequence[Mapping[str, Any]]) -> str:
    lines = [item for item in missed if "outcome" not in item]
    reachable = [item for item in missed if not item["reason"]]
    if missed and not reachable:
        return UNREACHABLE
    if any(item in lines for item in reachable):
        return MISSED
    if reachable:
        return PARTLY
    return HIT if is_code else ""


def _notes(missed: Mapping[int, Sequence[Mapping[str, Any]]], number: int) -> list[str]:
    notes = []
    for item in missed.get(number, ()):
        reason = item["reason"]
        if "outcome" in item:
            never = told(Branch(*(item[name] for name in Branch._fields)))
            notes.append(f"{never}: {reason}" if reason else never)
        elif reason:
            notes.append(reason)
    return notes
