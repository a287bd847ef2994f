"""Follows the chain block by block, through reorganisations, and remembers where it was."""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from operations.monitor import checkpoint
from operations.monitor.database import Database, Stored
from operations.monitor.health import Broken, Record, health
from operations.monitor.node import Gone, Header, Node
from operations.monitor.records import Block
from operations.monitor.replica import JOURNAL, Finding, Replica
from operations.monitor.system import Given, Subject
from operations.rpc import NodeError
from perp_fuzz.deployment import Artifacts

LOG = logging.getLogger("ringfence.monitor")
BATCH = 16  # blocks asked for at once, at most
TRACED = 64  # transactions traced in one request, unless a single block has more
# Of the time, spent on checking sampled invariants at the head, due or not.
CHECKING_SHARE = 0.1
SHOWN = 2_000  # blocks whose health is at hand
CHECKPOINT = 1_000  # blocks between two checkpoints
# Of a health record of the past.
PAST = ("block", "price", "breaker", "open_interest", "events")
# A node behind others goes back for a moment: a chain that has become shorter is believed later.
SHORTER_SECONDS = 10.0


@dataclass
class Progress:
    """What following has come to so far, for metrics."""

    head: int = 0
    blocks: int = 0
    reorganisations: int = 0
    undone: int = 0  # blocks
    rebuilds: int = 0
    seconds: float = 0.0  # spent on blocks
    findings: dict[str, int] = field(default_factory=dict)


class Follower:
    """One market. `on_first` is told findings that are the first of their invariant."""

    def __init__(
        self,
        node: Node,
        database: Database,
        subject: Subject,
        given: Given,
        artifacts: Artifacts,
        journal: int = JOURNAL,
        on_first: Callable[[list[Stored]], None] = lambda stored: None,
        clock: Callable[[], float] = time.monotonic,
        checkpoint_every: int = CHECKPOINT,
    ) -> None:
        self.node = node
        self.database = database
        self.subject = subject
        self.progress = Progress()
        self.latest: Record | None = None
        self._given = given
        self._artifacts = artifacts
        self._journal = journal
        self._on_first = on_first
        self._clock = clock
        self._checkpoint_every = checkpoint_every
        self._batch = BATCH
        self._check_after = 0.0
        self._shorter_since: float | None = None
        self._past: deque[Mapping[str, Any]] = deque(maxlen=SHOWN)
        self.broken: dict[str, Broken] = {}
        self.replica = self._rebuilt()

    # -- records -----------------------------------------------------------------------------------

    def history(self, count: int) -> list[Mapping[str, Any]]:
        """What charts need of the newest blocks, oldest first; for any thread."""
        return list(self._past)[-count:]

    def _show(self, record: Record) -> None:
        while self._past and self._past[-1]["block"]["number"] >= record["block"]["number"]:
            self._past.pop()
        past = {name: record[name] for name in PAST}
        self._past.append(past | {"solvency": {"ratio": record["solvency"]["ratio"]}})
        self.latest = record

    # -- the beginning, and deep reorganisations ---------------------------------------------------

    def _rebuilt(self) -> Replica:
        """A replica of all blocks in the database."""
        began, count = time.monotonic(), 0
        replica = self._resumed()
        for block in self.database.blocks(self._after(replica)):
            replica.apply(block, is_checking=False)
            count += 1
        if count:
            LOG.info("rebuilt %d blocks in %.1f s", count, time.monotonic() - began)
        self._reload()
        return replica

    def _resumed(self) -> Replica:
        """A replica as it was at a checkpoint that lies below the journal; an empty one if there is
        none."""
        found = self.database.checkpoint(checkpoint.source(), self._journal)
        replica = self._empty()
        if found is None:
            return replica
        for block in self.database.blocks():
            replica.apply(block, is_checking=False)
            if replica.system is not None:
                break
        number, state = found
        try:
            checkpoint.put_back(replica, next(self.database.blocks(number)), state)
        except checkpoint.Unusable as error:
            LOG.warning("the checkpoint at block %d is of no use, begun anew: %s", number, error)
            return self._empty()
        LOG.info("resumed from the checkpoint at block %d", number)
        return replica

    def _empty(self) -> Replica:
        return Replica(
            self.subject, self._given, self._artifacts, self._journal, self.node.views_again
        )

    def _reload(self) -> None:
        """What is remembered of blocks, as the database has it."""
        self.broken = self.database.broken()
        self._past.clear()
        self.latest = None
        for record in self.database.records(SHOWN):
            self._show(record)

    # -- following ---------------------------------------------------------------------------------

    @property
    def next_number(self) -> int:
        """Of the block that comes next."""
        return self._after(self.replica)

    def _after(self, replica: Replica) -> int:
        last = replica.last
        return self.subject.first_block if last is None else last.number + 1

    def step(self) -> int:
        """Follows some blocks, or goes back some; how many were new. Zero at the head."""
        try:
            headers = self._next_headers()
            blocks = self._fetched(headers)
        except Gone:
            return 0  # in the middle of a reorganisation: look again
        except NodeError:
            self._batch = max(1, self._batch // 2)  # it may have been too much at once
            raise
        self._batch = min(BATCH, self._batch + 1)
        if not blocks:
            return 0
        began = time.perf_counter()
        self._take(blocks)
        self.progress.seconds += time.perf_counter() - began
        return len(blocks)

    def _next_headers(self) -> list[Header]:
        """Heads of blocks that follow the last one; goes back first if the chain has."""
        last = self.replica.last
        first = self.next_number if last is None else last.number
        # As many as there were when last looked, one at least: what is not there is no harm.
        most = max(self.progress.head, self.next_number)
        numbers = range(first, min(most, self.next_number + self._batch - 1) + 1)
        head, found = self.node.head_and(numbers)
        self.progress.head = head
        if last is None:
            return _traceable(_connected(None, found))
        if head < last.number and not self._is_shorter(head):
            return []
        self._shorter_since = None if head >= last.number else self._shorter_since
        if found[0] is None or found[0].hash != last.hash:
            self._go_back(min(head, last.number))
            return []
        return _traceable(_connected(last.hash, found[1:]))

    def _is_shorter(self, head: int) -> bool:
        """Whether the chain has fewer blocks than it had, and not only this node for a moment."""
        (at_head,) = self.node.headers([head])
        if at_head is None or at_head.hash != self.database.hash_at(head):
            return True
        now = self._clock()
        if self._shorter_since is None:
            self._shorter_since = now
        return now - self._shorter_since >= SHORTER_SECONDS

    def _go_back(self, highest: int) -> None:
        """To the last block that the chain still has, at most this one."""
        last = self.replica.last
        assert last is not None
        common = self._common(highest)
        undone = last.number - common
        self.progress.reorganisations += 1
        self.progress.undone += undone
        LOG.warning("reorganisation: %d blocks back to block %d", undone, common)
        self.database.go_back(common)
        if undone <= self.replica.depth:
            self.replica.undo(undone)
            self._reload()
        else:
            self.progress.rebuilds += 1
            self.replica = self._rebuilt()

    def _common(self, highest: int) -> int:
        """The highest number at which the chain has our block; the one before the first if none."""
        first = self.subject.first_block
        number = highest
        while number >= first:
            numbers = range(number, max(first, number - BATCH) - 1, -1)
            for number, header in zip(numbers, self.node.headers(numbers), strict=True):
                if header is not None and header.hash == self.database.hash_at(number):
                    return number
            number -= 1
        return first - 1

    def _take(self, blocks: list[Block]) -> None:
        head = self.progress.head
        written: list[tuple[Block, Record | None, list[Finding]]] = []
        for block in blocks:
            findings = self.replica.apply(block)
            if block.number == head:
                findings = [*findings, *self._check_state()]
            for finding in findings:
                self._note(finding)
            record = health(self.replica, self.broken, head)
            assert self.replica.last is not None
            written.append((self.replica.last, record, findings))
        first = self.database.write(written)
        self._keep_checkpoint()
        for _, record, _ in written:
            if record is not None:
                self._show(record)
        self.progress.blocks += len(blocks)
        if first:
            self._on_first(first)

    def _keep_checkpoint(self) -> None:
        """After the last block, if it is time."""
        replica = self.replica
        if replica.system is None or replica.last is None:
            return
        number, source = replica.last.number, checkpoint.source()
        newest = self.database.newest_checkpoint(source)
        if newest is None or number - newest >= self._checkpoint_every:
            state = checkpoint.taken(replica)
            self.database.add_checkpoint(number, source, state, self._journal)

    def _fetched(self, headers: list[Header]) -> list[Block]:
        """The blocks. Without traces no more than one that reached the system, the last: the words
        that it has changed are those that the model says."""
        blocks = self.node.blocks(headers)
        if self.node.is_tracing:
            return blocks
        for i, block in enumerate(blocks):
            if block.transactions:
                places = self.replica.touched_by(block)
                words = tuple(self.node.words(places, block.hash).items())
                return [*blocks[:i], block._replace(words=words)]
        return blocks

    def _check_state(self) -> list[Finding]:
        """The sampled invariants at the head of the chain, as often as there is time."""
        now = self._clock()
        if now < self._check_after:
            return []
        findings = self.replica.check_state()
        spent = self._clock() - now
        self._check_after = now + spent / CHECKING_SHARE
        return findings

    def _note(self, finding: Finding) -> None:
        self.broken.setdefault(finding.invariant, Broken(finding.block, finding.text))
        counts = self.progress.findings
        counts[finding.invariant] = counts.get(finding.invariant, 0) + 1
        LOG.error(
            "block %d: %s (%s): %s",
            finding.block,
            finding.invariant,
            finding.sentence,
            finding.text,
        )


def _connected(parent: str | None, found: list[Header | None]) -> list[Header]:
    """The first of them, as far as each is the child of the one before."""
    headers: list[Header] = []
    for header in found:
        if header is None or (parent is not None and header.parent != parent):
            break
        headers.append(header)
        parent = header.hash
    return headers


def _traceable(headers: list[Header]) -> list[Header]:
    """The first of them, with no more transactions than can be traced at once; one at least."""
    total = 0
    for count, header in enumerate(headers):
        total += header.transactions
        if count and total > TRACED:
            return headers[:count]
    return headers
