"""Carries a plan out on a chain, once, however often it is interrupted.

What is done is read from the chain, not from notes: a step whose contract is at its address, whose
feed has its market or whose owner is named is done. The manifest adds what the chain cannot tell,
and the one transaction under way (`outbox`).
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from web3 import Web3
from web3.exceptions import Web3RPCError

from lockstep.errors import InputError
from operations.accounts import Signer
from operations.bounds import show
from operations.chain import Chain, check_chain_id, check_evm, check_given, hash_of
from operations.manifest import Manifest, Pending, Roles, read_manifest, write_manifest
from operations.outbox import DeployError, Outbox
from operations.plan import (
    OWNED,
    Piece,
    Plan,
    Step,
    compiler,
    git_commit,
    make_plan,
    origin_of,
    unlike,
)
from operations.rpc import block_of
from operations.settings import PROFILES, AggregatorFeed, Settings, SignedFeed, places_of
from operations.verify import compare
from python_model.evm import ZERO_ADDRESS

LATE = 30.0  # seconds that a node may be behind another
STALLED = 60.0  # seconds without a block: a development chain that waits for transactions
Say = Callable[[str], None]


def deploy(
    web3: Web3,
    signer: Signer,
    settings: Settings,
    path: Path,
    say: Say = print,
    *,
    dry_run: bool = False,
    agree: Callable[[], bool] = lambda: True,
    passed: Callable[[str], None] = lambda boundary: None,
) -> Manifest:
    """Deploys what is not deployed yet; the manifest, which is at `path` too.

    InputError before anything is sent, where file, manifest, chain and account do not fit;
    DeployError if the chain then does something else than was rehearsed. `agree` is asked once
    the plan is shown, if something is to be sent. `passed` is told every boundary between two
    effects on chain or disk ("factory noted", "factory sent", "factory mined", "factory recorded").
    """
    with _alone(path):
        run = _Run(web3, signer, settings, path, say, passed)
        run.prepare()
        run.show()
        if not dry_run and (run.has_nothing_to_send or agree()):
            run.carry_out()
        return run.manifest


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One deployment at a time; the lock of a killed one is gone with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.parent / f".{path.name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{path}: another deployment is writing it: wait for it") from None
        yield


def is_done(chain: Chain, step: Step, plan: Plan, deployer: str) -> bool:
    """Whether the chain shows a step's effect. DeployError if it shows another one."""
    if step.kind == "create":
        (piece,) = step.pieces.values()
        return _has_code(chain, step.key, piece)
    if step.kind == "market":
        market = step.pieces[step.key]
        feed = str(market.arguments["feed_"])
        contract = next(p.contract for p in plan.pieces().values() if p.address == feed)
        bound = chain.view(feed, contract, "market") if chain.code(feed) else None
        if bound in (None, ZERO_ADDRESS):
            return False
        if bound != market.address:
            raise DeployError(f"{step.key}: its feed {feed} serves the market {bound} already")
        return all(_has_code(chain, key, piece) for key, piece in step.pieces.items())
    contract = OWNED[step.key.partition(":")[2]]
    assert step.to is not None
    if chain.view(step.to, contract, "owner") != deployer:
        return bool(chain.code(step.to))  # it was accepted
    offered = "0x" + step.data[-20:].hex()
    return bool(chain.view(step.to, contract, "pending_owner") == offered)


def _has_code(chain: Chain, key: str, piece: Piece) -> bool:
    code = chain.code(piece.address)
    if code and code != piece.code:
        raise DeployError(f"{key}: at {piece.address} is other code than the source gives")
    return bool(code)


class _Run:
    def __init__(
        self,
        web3: Web3,
        signer: Signer,
        settings: Settings,
        path: Path,
        say: Say,
        passed: Callable[[str], None],
    ) -> None:
        self._chain = Chain(web3)
        self._settings = settings
        self._path = path
        self._say = say
        self._passed = passed
        self._deployer = signer.address.lower()
        self._outbox = Outbox(web3, signer, self._keep, passed, say)
        self._plan: Plan
        self._done: set[str] = set()
        self.manifest: Manifest

    def prepare(self) -> None:
        """Everything that can be wrong is found here, before anything is sent or written."""
        check_chain_id(self._chain.web3, self._settings)
        self.manifest = self._old_manifest() or self._new_manifest()
        check_evm(self._chain.web3)
        check_given(self._chain, self._settings)
        self._say("rehearsing; the first time the contracts are compiled for that")
        try:
            self._look(is_first=True)
        except DeployError as error:  # nothing has been sent
            raise InputError(
                f"{self._settings.path}: {error}: an earlier deployment is in the way: put back "
                "its file and its source, or choose another salt"
            ) from None
        for key, name, found, meant in unlike(self.manifest, self._plan):
            raise InputError(
                f"{self._path}: contracts.{key}{name}: {found}, but the source gives {meant}: "
                f"check out {self.manifest.git_commit}, with which it was begun, or remove the "
                "file to deploy anew"
            )
        self._check_created()
        self._check_account()

    @property
    def has_nothing_to_send(self) -> bool:
        return not self._left() and self.manifest.pending is None

    def show(self) -> None:
        """What will be done."""
        for line in plan_lines(self._settings, self._plan, self._done, self._deployer):
            self._say(line)
        if self.manifest.pending is not None:
            self._say(f"under way since an earlier run: {self.manifest.pending.key}")
        left = self._left()
        if left:
            cost, balance = self._cost(left), self._balance()
            self._say(
                f"{len(left)} transactions to send, for at most {_coins(cost)}; "
                f"the account holds {_coins(balance)}"
            )
        else:
            self._say("nothing to do: everything is deployed")

    def carry_out(self) -> None:
        """Sends what is missing, one transaction after the other."""
        if self.manifest.pending is not None:
            self._settle(self.manifest.pending.key, self._outbox.resume(self.manifest.pending))
        while True:
            self._look()
            self._record_found()
            left = self._left()
            if left:
                step = left[0]
                self._say(f"{step.title} ...")
                self._settle(step.key, self._outbox.send(step.key, step.to, step.data))
            elif self.manifest.finished or self._is_confirmed():
                break
        self._finish()

    def _look(self, is_first: bool = False) -> None:
        """Plans anew with what is settled by now, and sees what the chain has of it: all of it
        the first time, then as far as the first step that is not done."""
        origin = origin_of(self._chain, self.manifest, self._outbox.nonce())
        self._plan = make_plan(self._settings, origin)
        if is_first:
            self._done = set()
        for step in self._plan.steps:
            if step.key in self._done:
                continue
            if is_done(self._chain, step, self._plan, self._deployer):
                self._done.add(step.key)
            elif not is_first:
                break

    def _left(self) -> list[Step]:
        return [step for step in self._plan.steps if step.key not in self._done]

    def _new_manifest(self) -> Manifest:
        settings = self._settings
        owner, guardian, treasury = settings.owner, settings.guardian, settings.treasury
        return Manifest(
            network=settings.network,
            chain_id=settings.chain_id,
            profile=settings.profile,
            git_commit=git_commit(),
            settings=settings.digest(),
            compiler=compiler(),
            roles=Roles(owner, guardian, treasury, list(settings.publishers), self._deployer),
        )

    def _old_manifest(self) -> Manifest | None:
        if not self._path.exists():
            return None
        manifest = read_manifest(self._path, unfinished=True)
        new = self._new_manifest()
        if manifest.chain_id == new.chain_id and self._is_of_another_chain(manifest):
            self._say(f"{self._path}: of a development chain that is no more; begun anew")
            return None
        self._check_same(manifest, new)
        return manifest

    def _is_of_another_chain(self, manifest: Manifest) -> bool:
        """A development chain that was started anew has none of the contracts."""
        made = [item for item in manifest.contracts.values() if item.how != "given"]
        if self._settings.profile != "local" or any(self._chain.code(c.address) for c in made):
            return False
        # With a transaction under way it is the same chain as long as the nonce is not behind.
        pending = manifest.pending
        return bool(made) or (pending is not None and self._outbox.nonce() < pending.nonce)

    def _check_same(self, manifest: Manifest, new: Manifest) -> None:
        """The manifest was begun with this file, by this account."""
        anew = f"put it back, or remove {self._path} to deploy anew"
        for name in ("chain_id", "network", "profile"):
            if getattr(manifest, name) != getattr(new, name):
                raise InputError(
                    f"{self._path}: {name}: {getattr(manifest, name)}, but the deploy file says "
                    f"{getattr(new, name)}: {anew}"
                )
        if manifest.roles.deployer != self._deployer:
            raise InputError(
                f"--account {self._deployer}: {self._path} was begun by {manifest.roles.deployer}: "
                "use that account"
            )
        if manifest.settings != new.settings:
            raise InputError(
                f"{self._settings.path}: settings: changed since {self._path} was begun: {anew}"
            )

    def _check_created(self) -> None:
        """What has come from a nonce of the account would come twice if it was sent again."""
        for step in self._left():
            entry = self.manifest.contracts.get(step.key)
            if entry is not None and entry.how == "create":
                raise InputError(
                    f"{self._path}: contracts.{step.key}: nothing is at {entry.address} now, since "
                    f"block {entry.block}: the node is behind, or has lost it: wait, or choose "
                    "another --network; if it is gone for good, remove the file to deploy anew"
                )

    def _check_account(self) -> None:
        left = self._left()
        limit = block_of(self._chain.web3).gas_limit
        for step in left:
            if step.gas > limit:
                raise InputError(
                    f"--network: {step.key} takes {step.gas:,} gas, a block has {limit:,}: "
                    "choose another network"
                )
        cost, balance = self._cost(left), self._balance()
        if balance < cost:
            raise InputError(
                f"--account {self._deployer}: holds {_coins(balance)}, up to {_coins(cost)} are "
                f"needed for {len(left)} transactions: fund it, or choose another account"
            )

    def _cost(self, left: list[Step]) -> int:
        """Wei, with the eighth of gas that is added to every limit."""
        gas = sum(step.gas + step.gas // 8 for step in left)
        return gas * self._outbox.fee().most if left else 0

    def _balance(self) -> int:
        web3 = self._chain.web3
        return int(web3.eth.get_balance(web3.to_checksum_address(self._deployer)))

    def _keep(self, pending: Pending | None) -> None:
        self._write(replace(self.manifest, pending=pending, finished=False))

    def _write(self, manifest: Manifest) -> None:
        self.manifest = manifest
        write_manifest(self._path, manifest)

    def _settle(self, key: str, receipt: Any) -> None:
        """Takes down what came of a transaction."""
        if receipt is None:
            self._say(f"{key}: another transaction of the account took its place; once more")
            self._keep(None)
            return
        self._await(key, bool(receipt["status"]))
        step = next(step for step in self._plan.steps if step.key == key)
        where = "0x" + bytes(receipt["transactionHash"]).hex()
        if key not in self._done:
            if receipt["status"]:  # stays noted, so that it is not done again
                raise DeployError(f"{key}: the node shows nothing of {where}: run it again later")
            self._keep(None)
            raise DeployError(f"{key}: transaction {where} failed: look why, and run it again")
        is_ours = bool(receipt["status"])  # else somebody else's has had the same effect
        self._record(step, where if is_ours else None, int(receipt["blockNumber"]))

    def _await(self, key: str, is_certain: bool) -> None:
        """Looks for the effect of a transaction; again, if there is one, until the node has it."""
        deadline = time.monotonic() + LATE
        self._look()
        while is_certain and key not in self._done and time.monotonic() < deadline:
            time.sleep(1)
            self._look()

    def _record(self, step: Step, transaction: str | None, block: int) -> None:
        entries = {
            key: piece.entry(transaction, block, hash_of(piece.code))
            for key, piece in step.pieces.items()
        }
        for key, piece in self._plan.given.items():
            if key not in self.manifest.contracts:
                code = self._chain.code(piece.address)
                entries[key] = piece.entry(None, None, hash_of(code))
        first = self.manifest.block
        self._write(
            replace(
                self.manifest,
                contracts={**self.manifest.contracts, **entries},
                block=block if first is None else min(first, block),
                pending=None,
            )
        )
        self._passed(f"{step.key} recorded")

    def _record_found(self) -> None:
        """What is there although the manifest does not say so: it was lost, or somebody else
        deployed the very same."""
        for step in self._plan.steps:
            if step.key in self._done and step.pieces.keys() - self.manifest.contracts.keys():
                piece = step.pieces[step.key]
                self._say(f"{step.key} is there already, at {piece.address}")
                self._record(step, None, self._first_block(piece.address))

    def _first_block(self, address: str) -> int:
        """The block in which a contract appeared; the first of all if the node has no old
        states."""
        low, high = 0, block_of(self._chain.web3).number
        while low < high:
            middle = (low + high) // 2
            try:
                has_code = bool(self._chain.code(address, middle))
            except (Web3RPCError, ValueError):
                return 0
            low, high = (low, middle) if has_code else (middle + 1, high)
        return low

    def _is_confirmed(self) -> bool:
        """Waits until the last block with something of ours has enough on top of it; False if
        meanwhile something has vanished."""
        blocks = [item.block for item in self.manifest.contracts.values() if item.block is not None]
        wanted = max(blocks) + self._settings.confirmations - 1
        last, since = -1, time.monotonic()
        while (number := block_of(self._chain.web3).number) < wanted:
            if number != last:
                last, since = number, time.monotonic()
                self._say(f"block {number:,}, waiting for {wanted:,}")
            elif time.monotonic() - since > STALLED:
                self._say("no more blocks come; not waited for")
                break
            time.sleep(1)
        self._look(is_first=True)
        return not self._left()

    def _finish(self) -> None:
        if self.manifest.finished:
            return
        report = compare(self._chain, self._settings, replace(self.manifest, finished=True))
        if report.differences:
            told = "; ".join(report.differences)
            raise DeployError(f"deployed, but not as planned: {told}")
        self._write(replace(self.manifest, finished=True))
        self._say(f"deployed and verified; written to {self._path}")
        for note in report.notes:
            self._say(note)


def plan_lines(settings: Settings, plan: Plan, done: set[str], deployer: str) -> Iterator[str]:
    """The plan, to be read before it is agreed to."""
    yield f"network {settings.network}, chain {settings.chain_id}"
    yield f"profile {settings.profile}: {PROFILES[settings.profile]}"
    yield f"deployer {deployer}"
    yield f"owner {settings.owner}, guardian {settings.guardian}, treasury {settings.treasury}"
    token = settings.token
    kind = f"at {token.address}" if token.address else "mintable, deployed"
    yield f"token with {token.decimals} decimals, {kind}"
    for name, feed in settings.feeds.items():
        yield f"feed {name}: {_feed_line(feed, len(settings.publishers))}"
    for name, market in settings.markets.items():
        yield f"market {name} on feed {market.feed}, pool {market.name!r} ({market.symbol})"
        for key, value in {**market.params._asdict(), **market.risk._asdict()}.items():
            values = value if isinstance(value, tuple) else (value,)
            places = places_of(key, token.decimals)
            yield f"    {key:<26} {' '.join(show(one, places) for one in values)}"
    for number, step in enumerate(plan.steps, 1):
        state = "done" if step.key in done else f"{step.gas:,} gas"
        yield f"{number:>3}  {step.title}  {state}"


def _feed_line(feed: SignedFeed | AggregatorFeed, publishers: int) -> str:
    if isinstance(feed, SignedFeed):
        return f"signed by {feed.quorum} of {publishers}, {feed.decimals} decimals"
    where = f"at {feed.aggregator}" if feed.aggregator else "a test aggregator, deployed"
    return f"{where}, {feed.decimals} decimals, heartbeat {feed.heartbeat} s"


def _coins(wei: int) -> str:
    return f"{wei / 10**18:.6f} of the native coin"
