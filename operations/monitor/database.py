"""What the monitor knows, in one SQLite file: blocks, health, findings, and how far it is.

Everything about a block is written in one transaction, so whoever is killed leaves it before the
block or after it. One monitor writes it; anybody may read it meanwhile.
"""

import fcntl
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from lockstep.errors import InputError
from operations.monitor.health import Broken, Record
from operations.monitor.records import Block, dump, load
from operations.monitor.replica import Finding
from operations.monitor.system import Given, Subject

FORMAT = 2
HEALTH_KEPT = 20_000  # blocks
TABLES = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY,
    hash TEXT NOT NULL,
    parent TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    record BLOB NOT NULL
);
CREATE TABLE health (number INTEGER PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE checkpoints (number INTEGER PRIMARY KEY, source TEXT NOT NULL, state BLOB NOT NULL);
CREATE TABLE findings (
    id INTEGER PRIMARY KEY,
    invariant TEXT NOT NULL,
    block INTEGER NOT NULL,
    block_hash TEXT NOT NULL,
    transaction_hash TEXT NOT NULL,
    text TEXT NOT NULL,
    is_first INTEGER NOT NULL,      -- of its invariant since the last acknowledgement
    is_undone INTEGER NOT NULL DEFAULT 0,       -- by a reorganisation
    is_acknowledged INTEGER NOT NULL DEFAULT 0,
    is_told INTEGER NOT NULL DEFAULT 0          -- to the webhook
);
"""


class Stored(NamedTuple):
    """A finding with its number."""

    id: int
    finding: Finding


class Database:
    """The file of one monitor. `mine` names what it is about; another's is refused."""

    def __init__(self, path: Path, subject: Subject) -> None:
        self.path = path
        self._lock = _locked(path)
        try:
            self._connection = sqlite3.connect(path, timeout=10, isolation_level=None)
        except sqlite3.Error as error:
            self._lock.close()
            raise self._strange(str(error)) from None
        try:
            self._check(subject)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Frees the file."""
        self._connection.close()
        self._lock.close()

    # -- what it is about --------------------------------------------------------------------------

    def _check(self, subject: Subject) -> None:
        wanted = {
            "format": str(FORMAT),
            "chain_id": str(subject.manifest.chain_id),
            "market": subject.addresses.market,
            "manifest": digest_of(subject),
        }
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            is_new = not self._connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            if is_new:
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    for statement in TABLES.split(";\n"):
                        if statement.strip():
                            self._connection.execute(statement)
                    for key, value in wanted.items():
                        self._set(key, value)
                return
            found = dict(self._connection.execute("SELECT key, value FROM about"))
        except sqlite3.DatabaseError as error:
            raise self._strange(str(error)) from None
        remedies = {
            "format": "it is of another version; give --database a new file, the chain has it all",
            "chain_id": "it is of another chain; give --database another file",
            "market": "it is of another market; give --database another file, or --market",
            "manifest": "the manifest has changed since; put the old one back, or give --database "
            "a new file",
        }
        for key, value in wanted.items():
            if found.get(key) != value:
                raise InputError(
                    f"{self.path}: {key}: {found.get(key)!r} is not {value!r}: {remedies[key]}"
                )

    def _strange(self, text: str) -> InputError:
        return InputError(
            f"{self.path}: no database of a monitor ({text}); give --database another file"
        )

    def _set(self, key: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, value))

    def given(self) -> Given | None:
        """What others' contracts said of themselves, if they were asked before."""
        row = self._connection.execute("SELECT value FROM about WHERE key = 'given'").fetchone()
        return Given(*json.loads(row[0])) if row else None

    def set_given(self, given: Given) -> None:
        """Remembers it: a rebuilt replica needs no node."""
        with self._connection:
            self._set("given", json.dumps(given))

    # -- blocks ------------------------------------------------------------------------------------

    def last(self) -> tuple[int, str] | None:
        """Number and hash of the last block: the position in the chain."""
        row = self._connection.execute(
            "SELECT number, hash FROM blocks ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return (row[0], row[1]) if row else None

    def hash_at(self, number: int) -> str | None:
        """Of a block that is stored."""
        row = self._connection.execute(
            "SELECT hash FROM blocks WHERE number = ?", (number,)
        ).fetchone()
        return row[0] if row else None

    def blocks(self, first: int = 0) -> Iterator[Block]:
        """All of them from a number on, in order."""
        rows = self._connection.execute(
            "SELECT number, hash, parent, timestamp, record FROM blocks WHERE number >= ? "
            "ORDER BY number",
            (first,),
        )
        for row in rows:
            yield load(*row)

    def write(
        self, blocks: Sequence[tuple[Block, Record | None, Sequence[Finding]]]
    ) -> list[Stored]:
        """Adds blocks with what was found; the findings that are the first of their invariant."""
        first = []
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for block, record, findings in blocks:
                row = (block.number, block.hash, block.parent, block.timestamp, dump(block))
                self._connection.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?)", row)
                if record is not None:
                    text = zlib.compress(json.dumps(record, separators=(",", ":")).encode(), 1)
                    self._connection.execute(
                        "INSERT INTO health VALUES (?, ?)", (block.number, text)
                    )
                first += [one for finding in findings if (one := self._add(finding))]
            oldest = blocks[-1][0].number - HEALTH_KEPT if blocks else 0
            self._connection.execute("DELETE FROM health WHERE number < ?", (oldest,))
        return first

    def _add(self, finding: Finding) -> Stored | None:
        is_first = not self._connection.execute(
            "SELECT 1 FROM findings WHERE invariant = ? AND NOT is_undone AND NOT is_acknowledged",
            (finding.invariant,),
        ).fetchone()
        cursor = self._connection.execute(
            "INSERT INTO findings (invariant, block, block_hash, transaction_hash, text, is_first) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (*finding, int(is_first)),
        )
        assert cursor.lastrowid is not None
        return Stored(cursor.lastrowid, finding) if is_first else None

    def go_back(self, number: int) -> None:
        """Forgets the blocks above a number: the chain no longer has them."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for table in ("blocks", "health", "checkpoints"):
                self._connection.execute(f"DELETE FROM {table} WHERE number > ?", (number,))
            self._connection.execute("UPDATE findings SET is_undone = 1 WHERE block > ?", (number,))

    def records(self, count: int) -> list[Record]:
        """The newest health records, oldest first."""
        rows = self._connection.execute(
            "SELECT record FROM health ORDER BY number DESC LIMIT ?", (count,)
        ).fetchall()
        return [json.loads(zlib.decompress(text)) for (text,) in reversed(rows)]

    # -- checkpoints -------------------------------------------------------------------------------

    def checkpoint(self, source: str, below: int) -> tuple[int, bytes] | None:
        """Number and state of the newest one of this source that so many blocks follow."""
        last = self.last()
        row = self._connection.execute(
            "SELECT number, state FROM checkpoints WHERE source = ? AND number <= ? "
            "ORDER BY number DESC LIMIT 1",
            (source, last[0] - below if last else -1),
        ).fetchone()
        return (row[0], row[1]) if row else None

    def newest_checkpoint(self, source: str) -> int | None:
        """Its number."""
        (number,) = self._connection.execute(
            "SELECT MAX(number) FROM checkpoints WHERE source = ?", (source,)
        ).fetchone()
        return None if number is None else int(number)

    def add_checkpoint(self, number: int, source: str, state: bytes, below: int) -> None:
        """Those that nobody will go back to are forgotten: all that are older than the one which
        is far enough `below` this block, and those of another source."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)", (number, source, state)
            )
            self._connection.execute(
                "DELETE FROM checkpoints WHERE source != ? OR number < "
                "(SELECT MAX(number) FROM checkpoints WHERE source = ? AND number <= ?)",
                (source, source, number - below),
            )

    # -- findings ----------------------------------------------------------------------------------

    def broken(self) -> dict[str, Broken]:
        """The invariants that are broken, with their first finding."""
        rows = self._connection.execute(
            "SELECT invariant, block, text FROM findings "
            "WHERE NOT is_undone AND NOT is_acknowledged ORDER BY id DESC"
        )
        return {invariant: Broken(block, text) for invariant, block, text in rows}

    def findings(self) -> list[Finding]:
        """All that were found on the chain as it is, acknowledged or not."""
        rows = self._connection.execute(
            "SELECT invariant, block, block_hash, transaction_hash, text FROM findings "
            "WHERE NOT is_undone ORDER BY id"
        )
        return [Finding(*row) for row in rows]

    def untold(self) -> list[Stored]:
        """First findings that the webhook has not taken yet."""
        rows = self._connection.execute(
            "SELECT id, invariant, block, block_hash, transaction_hash, text FROM findings "
            "WHERE is_first AND NOT is_told AND NOT is_acknowledged AND NOT is_undone ORDER BY id"
        )
        return [Stored(row[0], Finding(*row[1:])) for row in rows]

    def set_told(self, ids: Iterable[int]) -> None:
        """They need not be told again."""
        with self._connection:
            self._connection.executemany(
                "UPDATE findings SET is_told = 1 WHERE id = ?", [(one,) for one in ids]
            )

    def acknowledge(self) -> int:
        """Somebody has looked at all findings so far; how many there were."""
        with self._connection:
            cursor = self._connection.execute(
                "UPDATE findings SET is_acknowledged = 1 WHERE NOT is_acknowledged"
            )
        return cursor.rowcount


def digest_of(subject: Subject) -> str:
    """Of what a manifest says of the watched contracts: more of them elsewhere change nothing."""
    manifest = subject.manifest
    at = subject.addresses
    parts = [
        [found.address, found.contract, dict(found.arguments)]
        for found in manifest.contracts.values()
        if found.address in at
    ]
    content = json.dumps(
        [manifest.chain_id, subject.first_block, sorted(parts, key=str)], sort_keys=True
    )
    return hashlib.sha256(content.encode()).hexdigest()


def _locked(path: Path) -> IO[bytes]:
    """A file beside the database that one monitor at a time can lock; the system lets go of it
    however the monitor ends."""
    try:
        lock = open(f"{path}.lock", "ab")  # noqa: SIM115  # held as long as the database
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); give --database a file in a folder "
            "of yours"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise InputError(
            f"{path}: another monitor has this database open; stop it, or give --database "
            "another file"
        ) from None
    return lock
