"""The toy vault with a twin that names what its steps reach."""

from typing import Any

from toy_vault import CAP, VaultAdapter, VaultTwin

from lockstep.adapter import Config
from lockstep.engines import Engine
from lockstep.guidance import near
from lockstep.step import ModelResult, Step

AT_CAP = near("cap, total less it")


class FeaturedTwin(VaultTwin):
    seen: list[str]

    def execute_model(self, step: Step) -> ModelResult:
        before = self.model.total
        result = super().execute_model(step)
        seen = self.__dict__.setdefault("seen", [])
        if step.action == "open" and -2 < before + step.args[0] - CAP < 2:
            seen.append(AT_CAP[before + step.args[0] - CAP])
        if self.closed == 3 and step.action == "close" and result.ok:
            seen.append("third deposit taken out")
        return result

    def features(self) -> list[str]:
        seen = self.__dict__.get("seen", [])
        self.seen = []
        return seen


class FeaturedAdapter(VaultAdapter):
    import_path = "featured_vault:ADAPTER"

    def new_twin(self, engine: Engine, config: Config) -> Any:
        twin = super().new_twin(engine, config)
        twin.__class__ = FeaturedTwin
        return twin


ADAPTER = FeaturedAdapter()
