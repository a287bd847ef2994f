"""A toy that ends the process it runs in; a module of its own, so that a cluster can load it."""

import os
import signal
from pathlib import Path
from typing import Any

from toy_vault import VaultAdapter


class Deadly(VaultAdapter):
    """Kills the process that runs one of the chains, so many times."""

    def __init__(self, folder: Path, chain: int, times: int) -> None:
        super().__init__()
        self.folder, self.chain, self.times = folder, chain, times

    def generate(self, twin: Any, rng: Any) -> Any:
        if twin.config["chain"] == self.chain and len(twin.model.deposits) > 3:
            deaths = len(list(self.folder.iterdir()))
            if deaths < self.times:
                (self.folder / str(deaths)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().generate(twin, rng)

    def new_twin(self, engine: Any, config: Any) -> Any:
        twin = super().new_twin(engine, config)
        twin.config = config
        return twin
