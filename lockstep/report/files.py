"""Where reports go: the suffix decides what is written, and every path is checked beforehand."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lockstep.errors import InputError
from lockstep.regression import write_whole

Texts = Mapping[str, str]  # path -> what the file there says


def _json(summary: dict[str, Any], texts: Texts) -> str:
    return json.dumps(summary, indent=2) + "\n"


def _html(summary: dict[str, Any], texts: Texts) -> str:
    from lockstep.report.page import page  # a second to load, for who asks for it

    return page(summary, texts)


def _junit(summary: dict[str, Any], texts: Texts) -> str:
    from lockstep.report.junit import document

    return document(summary)


FORMATS: Mapping[str, Callable[[dict[str, Any], Texts], str]] = {
    ".html": _html,
    ".xml": _junit,
    ".json": _json,
}


def report_paths(texts: Iterable[str]) -> list[Path]:
    """The paths named by texts like "out/report.html,out/junit.xml", all checked."""
    paths: dict[Path, None] = {}
    for text in texts:
        for name in text.split(","):
            if not name.strip():
                raise InputError(f"report {text!r}: a path is empty; write a.html,b.xml")
            path = Path(name.strip())
            check_writable(path)
            if path.suffix.lower() not in FORMATS:
                known = "it in .html (a page), .xml (JUnit) or .json"
                raise InputError(f"report {path}: {path.suffix or 'no'} suffix; end {known}")
            paths[path] = None
    return list(paths)


def check_writable(path: str | Path) -> None:
    """Fail before the campaign, not after it, if the report cannot be written."""
    target = Path(path)
    if target.is_dir():
        raise InputError(f"report {path}: is a directory; name a file in it")
    parent = target.parent
    if not parent.is_dir():
        raise InputError(f"report {path}: no directory {parent}; create it or choose another path")
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(f"report {path}: not writable; change its permissions or the path")
    try:
        handle, name = tempfile.mkstemp(dir=parent)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"report {path}: {reason} in {parent}; choose another path") from None
    os.close(handle)
    os.unlink(name)


def write_report(path: str | Path, summary: dict[str, Any]) -> None:
    """Figures of any kind as JSON."""
    write_whole(path, _json(summary, {}))


def write_reports(paths: Sequence[Path], summary: dict[str, Any], texts: Texts) -> None:
    """A campaign's summary in the format of every path, each whole or not at all.

    `texts` are the sources to show its coverage on. One report that cannot be written does not keep
    the others from being written.
    """
    failures = []
    for path in paths:
        try:
            write_whole(path, FORMATS[path.suffix.lower()](summary, texts))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            failures.append(f"report {path}: {reason}; make room or choose another path")
    if failures:
        raise InputError("; ".join(failures))
