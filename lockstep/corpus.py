"""Short stories that reach what is rare, kept on disk: later campaigns begin chains with them.

An entry is one JSON file: the deployment, the steps, and the features they reach. It is written
whole or not at all, and named by its content, so that campaigns may write side by side.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lockstep.adapter import Adapter, Config
from lockstep.checker import Checker
from lockstep.errors import InputError
from lockstep.guidance import Featured
from lockstep.regression import write_whole
from lockstep.step import Step, from_json, to_json

FORMAT = 1
OF_A_CHAIN = ("seed", "chain", "chains", "entry")  # what a campaign adds to a config
ENDING = ".json"
FIRST_SAVE = 1_000  # steps of a chain before what it found is written, again when they double


class Entry(NamedTuple):
    """Steps from a fresh deployment, and what they are kept for."""

    adapter: str
    config: Config  # without what a campaign adds
    steps: tuple[Step, ...]
    features: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of the content."""
        content = json.dumps(self._content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        name = "".join(letter if letter.isalnum() else "-" for letter in self.adapter)
        return f"{name}-{self.digest}{ENDING}"

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "adapter": self.adapter,
            "features": list(self.features),
            "config": self.config,
            "steps": [to_json(step) for step in self.steps],
        }

    def text(self) -> str:
        """The file: a step a line, so that two versions can be compared by eye."""
        content = self._content()
        lines = ",\n".join(f"    {json.dumps(step)}" for step in content.pop("steps"))
        shown = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()]
        shown += [f'  "steps": [\n{lines}\n  ]', f'  "digest": {json.dumps(self.digest)}']
        return "{\n" + ",\n".join(shown) + "\n}\n"


LONGEST = 1_000  # steps of an entry that begins a chain; longer ones wait to be shortened


def is_short(entry: Entry) -> bool:
    return len(entry.steps) <= LONGEST


def deployment(config: Config) -> Config:
    """A config without what a campaign adds."""
    return {key: value for key, value in config.items() if key not in OF_A_CHAIN}


def entry_of(
    adapter: Adapter, config: Config, steps: Iterable[Step], features: Iterable[str]
) -> Entry:
    return Entry(adapter.name, deployment(config), tuple(steps), tuple(sorted(features)))


def read_entry(path: Path, adapter: Adapter) -> Entry:
    """InputError, with what to do, if it is not what was written or not for this adapter."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _error(path, reason, "make it readable or move it away") from None
    except ValueError:
        raise _error(path, "is cut short or no JSON", "restore or delete it") from None
    if not isinstance(content, dict) or "format" not in content:
        raise _error(path, "is no corpus entry", "move it out of the corpus")
    if content["format"] != FORMAT:
        found = f"has format {content['format']!r}, this version reads {FORMAT}"
        raise _error(path, found, "use the version that wrote it, or delete it")
    if content.get("adapter") != adapter.name:
        found = f"is for {content.get('adapter')!r}, not for {adapter.name!r}"
        raise _error(path, found, "name a corpus of your own with CORPUS=folder")
    try:
        steps = tuple(from_json(step) for step in content["steps"])
        entry = Entry(adapter.name, content["config"], steps, tuple(content["features"]))
        digest = entry.digest
    except (KeyError, TypeError, ValueError):
        raise _error(path, "lacks parts of an entry", "restore or delete it") from None
    if digest != content.get("digest"):
        raise _error(path, "was edited, its digest is another's", "restore or delete it")
    unknown = sorted({step.action for step in steps} - set(adapter.actions))
    if unknown:
        found = f"has an action the adapter does not know: {', '.join(unknown)}"
        raise _error(path, found, "use the version that wrote it, or delete it")
    return entry


def _error(path: Path, found: str, remedy: str) -> InputError:
    return InputError(f"corpus file {path}: {found}; {remedy}")


class Corpus:
    """Entries that a campaign starts from, and the folder that takes what it finds.

    What is in it is read once: a campaign does not depend on what others write meanwhile.
    """

    def __init__(self, adapter: Adapter, folders: Sequence[Path], keep: Path | None = None) -> None:
        """`folders` are read; `keep`, if given, is read too, created if need be, and written."""
        self.keep = keep
        if keep is not None:
            _check_folder(keep)
        read = [*folders, *([] if keep is None or keep in folders else [keep])]
        found = {
            path.name: read_entry(path, adapter)
            for folder in read
            for path in sorted(folder.glob(f"*{ENDING}"))
        }
        self.entries = tuple(found[name] for name in sorted(found))
        self.known = frozenset(name for entry in self.entries for name in entry.features)

    @property
    def digest(self) -> str:
        """Of all entries: with the seed it says which campaign this is."""
        names = "".join(entry.digest for entry in self.entries)
        return hashlib.sha256(names.encode()).hexdigest()[:16] if names else "empty"

    def fitting(self, config: Config) -> list[Entry]:
        """The entries of this deployment."""
        wanted = _canonical(deployment(config))
        return [entry for entry in self.entries if _canonical(entry.config) == wanted]

    def long(self) -> list[Entry]:
        """Those of the folder that are still to be shortened."""
        return [entry for entry in self.entries if not is_short(entry)]

    def remove(self, entry: Entry) -> None:
        """From the folder, if it is there."""
        if self.keep is not None:
            (self.keep / entry.file_name).unlink(missing_ok=True)

    def begin(self, config: Config) -> tuple[Step, ...]:
        """The steps that a chain begins with, by the digest its config names; mostly none."""
        wanted = config.get("entry")
        return next((entry.steps for entry in self.entries if entry.digest == wanted), ())

    def write(self, entry: Entry) -> Path | None:
        """Keeps the entry, if there is a folder for it."""
        if self.keep is None:
            return None
        path = self.keep / entry.file_name
        write_whole(path, entry.text())
        return path


class Finds:
    """What a chain reaches first of all: counted, and with a folder to keep it, kept as it comes.

    The whole chain up to there is kept, and shortened later (lockstep/distil.py).
    """

    def __init__(
        self, adapter: Adapter, corpus: Corpus | None, config: Config, counts: dict[str, int]
    ) -> None:
        self._adapter, self._corpus, self._config = adapter, corpus, config
        self._counts = counts
        self._new: list[str] = []
        self._until = 0  # steps to keep
        self._next_save = FIRST_SAVE
        self._path: Path | None = None
        self._is_kept = True

    def note(self, outcomes: Iterable[str], checker: Checker) -> None:
        """A batch is done: the outcomes that were new in it, and what the twin names."""
        counts, new = self._counts, list(outcomes)
        twin = checker.twin
        if isinstance(twin, Featured):
            for name in twin.features():
                count = counts.get(name, 0)
                counts[name] = count + 1
                if not count:
                    new.append(name)
        if self._corpus is None or self._corpus.keep is None:
            return
        if names := [name for name in new if name not in self._corpus.known]:
            self._new += names
            self._until = checker.steps
            self._is_kept = False
        if checker.steps >= self._next_save:
            self.save(checker)
            self._next_save = 2 * checker.steps

    def save(self, checker: Checker) -> list[Path]:
        """Write what was found to the folder, and where it is."""
        if not self._is_kept and self._corpus is not None:
            steps = checker.history[: self._until]
            entry = entry_of(self._adapter, self._config, steps, dict.fromkeys(self._new))
            earlier, self._path = self._path, self._corpus.write(entry)
            if earlier is not None and earlier != self._path:
                earlier.unlink(missing_ok=True)
            self._is_kept = True
        return [] if self._path is None else [self._path]


def _canonical(config: Config) -> str:
    return json.dumps(config, sort_keys=True)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"corpus {folder}: is a file; name a folder, or CORPUS=none for no corpus")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"corpus {folder}: {reason}; choose another folder") from None
