"""Coverage of chains: adapters with probes in their contracts, and what the probes tell."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from lockstep.adapter import Adapter, Config, Twin
from lockstep.compiler import Artifact, Sources
from lockstep.coverage.model import Arcs, Tracer, covered, merge_arcs
from lockstep.coverage.probes import CONTRACTS, Instrumented, Item, instrument
from lockstep.coverage.record import Coverage
from lockstep.coverage.unreachable import read_entries, resolve
from lockstep.engines.base import Engine, ProbedEngine
from lockstep.errors import InputError


@runtime_checkable
class Compiled(Protocol):
    """What an adapter offers beyond `Adapter` so that its contracts can carry probes.

    It may have two attributes more: `model_files`, the files of the model (absolute paths), and
    `unreachable`, the path of a list of what nothing can reach (lockstep.coverage.unreachable).
    """

    def sources(self) -> Mapping[str, Sources]:
        """The contracts to be covered, by the names under which it takes them compiled."""

    def compiled(self, artifacts: Mapping[str, Artifact]) -> Adapter:
        """The same adapter, with these in the place of what it compiles itself."""


class Recorder:
    """Probes for an adapter's contracts."""

    def __init__(self, adapter: Compiled) -> None:
        self.adapter = adapter
        sources = adapter.sources()
        if len(sources) > CONTRACTS:
            raise InputError(f"coverage takes {CONTRACTS} contracts at most: leave some out")
        self._artifacts = {name: item.artifact() for name, item in sources.items()}
        self._instrumented = {name: _instrumented(*_key(item)) for name, item in sources.items()}
        self._tells: dict[int, tuple[Item, ...]] = {}
        for number, item in enumerate(self._instrumented.values()):
            self._tells.update(item.addresses(number))

    def begin(self, coverage: Coverage) -> Adapter:
        """The adapter for a chain: with the probes that can still tell something."""
        if not coverage.all:
            coverage.all.update(item for told in self._tells.values() for item in told)
        artifacts = {
            name: self._artifacts[name]._replace(initcode=item.code(number, coverage.hit))
            for number, (name, item) in enumerate(self._instrumented.items())
        }
        return _Probed(self.adapter.compiled(artifacts))

    def read(self, engine: ProbedEngine, coverage: Coverage) -> set[Item]:
        """Add what the engine's contracts ran; what of it is new."""
        ran = {item for address in engine.probed() for item in self._tells[address]}
        new = ran - coverage.hit
        coverage.hit |= new
        return new


def recorder_of(adapter: Adapter, engine: Engine) -> Recorder | None:
    """None if the adapter does not say what its contracts are made of, or the engine sees no
    probes."""
    if isinstance(adapter, Compiled) and isinstance(engine, ProbedEngine):
        return _recorder(adapter)
    return None


@lru_cache(maxsize=1)
def _recorder(adapter: Any) -> Recorder:
    return Recorder(adapter)


class _Probed:
    """An adapter whose twins are deployed with probes, on engines that take them."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def new_twin(self, engine: Engine, config: Config) -> Twin:
        assert isinstance(engine, ProbedEngine)
        engine.take_probes()
        return self._adapter.new_twin(engine, config)


class Watch:
    """Coverage of one chain, as far as adapter and engine offer it."""

    def __init__(
        self,
        adapter: Adapter,
        engine: Engine,
        contracts: Coverage,
        model: Arcs,
        wanted: bool = True,
    ) -> None:
        self.adapter = adapter  # what to deploy
        self._engine, self._contracts, self._model = engine, contracts, model
        self._recorder = recorder_of(adapter, engine) if wanted else None
        if self._recorder is not None:
            self.adapter = self._recorder.begin(contracts)
        scope = scope_of(adapter)
        self._tracer = Tracer(scope.model, scope.base) if wanted and scope.model else None

    def tracing(self, now: bool = True) -> AbstractContextManager[None]:
        """Trace the model meanwhile."""
        return self._tracer.on() if self._tracer is not None and now else nullcontext()

    def end(self) -> None:
        """Add what ran."""
        if self._recorder is not None:
            assert isinstance(self._engine, ProbedEngine)
            self._recorder.read(self._engine, self._contracts)
        if self._tracer is not None:
            merge_arcs(self._model, self._tracer.arcs())


class Scope(NamedTuple):
    """Where what is covered is, for a report."""

    base: Path = Path()
    replaced: Mapping[str, str] = {}  # full path -> the text that stood in for the file
    model: tuple[str, ...] = ()
    unreachable: Path | None = None

    def text(self, path: str) -> str:
        """Of a file by its path relative to the base."""
        full = self.base / path
        return self.replaced.get(str(full)) or full.read_text()

    def check(self) -> None:
        """InputError if the list of what nothing can reach cannot be read."""
        if self.unreachable is not None:
            read_entries(self.unreachable)

    def reasons(self, coverage: Coverage) -> tuple[dict[Item, str], list[str]]:
        """Why what was missed cannot be reached, and what is wrong with the list of reasons."""
        if self.unreachable is None:
            return {}, []
        return resolve(read_entries(self.unreachable), coverage, self.text)

    def model_coverage(self, arcs: Arcs) -> Coverage:
        return covered(self.model, arcs, self.base) if arcs else Coverage()

    def summary(self, contracts: Coverage, arcs: Arcs) -> dict[str, Any]:
        """Of contracts and model, file by file, as plain JSON values."""
        return {
            "contracts": contracts.summary(self.reasons(contracts)[0]),
            "model": self.model_coverage(arcs).summary(),
        }


def scope_of(adapter: Adapter) -> Scope:
    if not isinstance(adapter, Compiled):
        return Scope()
    sources = next(iter(adapter.sources().values()))
    files = tuple(str(path) for path in getattr(adapter, "model_files", ()))
    return Scope(sources.base, sources.replaced, files, getattr(adapter, "unreachable", None))


def _key(sources: Sources) -> tuple[Path, Path, tuple[tuple[str, str], ...], str]:
    return (
        sources.target,
        sources.base,
        tuple(sorted(sources.replaced.items())),
        sources.optimize,
    )


@lru_cache(maxsize=64)
def _instrumented(
    target: Path, base: Path, replaced: tuple[tuple[str, str], ...], optimize: str
) -> Instrumented:
    sources = Sources(target, base, dict(replaced), optimize)
    return instrument(sources, sources.artifact())
