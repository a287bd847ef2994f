"""Every storage word of the system, written from the model, what is proposed included."""

from collections.abc import Callable
from typing import Any

from lockstep.abi import mapping_slot
from perp_fuzz.deployment import Artifacts
from perp_fuzz.words import Deployed, Word, Words, slots_of
from python_model.configurator import Configurator, ParamsProposal, PublishersProposal
from python_model.evm import Storage


class SystemWords(Words):
    """Words of a system whose token is somebody else's."""

    def __init__(self, system: Deployed, artifacts: Artifacts) -> None:
        super().__init__(system, artifacts, None)
        configurator = system.configurator
        slots = slots_of(artifacts["Configurator"])
        for name, to_words in (
            ("restricted_until", lambda until: [until]),
            ("_params_proposals", _params_words),
            ("_publishers_proposals", _publishers_words),
        ):
            storage: Storage[str, Any] = getattr(configurator, name)
            write = _writer(configurator, slots[name], storage, to_words)
            self._writers[id(storage)] = write
            self._mappings.append((name.strip("_").replace("_", " "), storage))

    def forget(self) -> None:
        """The model was put back: nothing is written, and what there is was compared then."""
        self._written.clear()
        self._last = self.scalar_values()
        self._names.clear()


def _writer(
    owner: Configurator, slot: int, storage: Storage[str, Any], to_words: Callable[[Any], list[int]]
) -> Callable[[str], list[Word]]:
    def write(key: str) -> list[Word]:
        first = mapping_slot(slot, key)
        return [(owner.address, first + i, word) for i, word in enumerate(to_words(storage[key]))]

    return write


def _params_words(proposal: ParamsProposal) -> list[int]:
    words = [proposal.eta]
    for value in proposal.params:
        words += value if isinstance(value, tuple) else [value]
    return words


def _publishers_words(proposal: PublishersProposal) -> list[int]:
    listed = [int(publisher, 16) for publisher in proposal.publishers]
    return [proposal.eta, proposal.quorum, len(listed), *listed]
