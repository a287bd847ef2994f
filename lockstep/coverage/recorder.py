"""Coverage of chains: adapters with probes in their contracts, and what the probes tell."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from lockstep.adapter import Adapter, Config, Twin
from lockstep.compiler import Artifact, Sources
from lockstep.coverage.probes import CONTRACTS, Instrumented, Item, instrument
from lockstep.coverage.record import Coverage
from lockstep.engines.base import Engine, ProbedEngine
from lockstep.errors import InputError


@runtime_checkable
class Compiled(Protocol):
    """What an adapter offers beyond `Adapter` so that its contracts can carry probes."""

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


def recorder_of(adapter: Adapter, engine: str) -> Recorder | None:
    """None if the adapter does not say what its contracts are made of, or the engine sees no
    probes."""
    return _recorder(adapter) if engine == "revm" and isinstance(adapter, Compiled) else None


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
        cast(ProbedEngine, engine).take_probes()
        return self._adapter.new_twin(engine, config)


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
