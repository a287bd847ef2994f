"""EVM engines behind one interface. Each is imported only when it is asked for."""

from lockstep.engines.base import (
    ENGINES,
    GENESIS_TIME,
    Engine,
    EngineError,
    Log,
    Outcome,
    open_engine,
)

__all__ = ["ENGINES", "GENESIS_TIME", "Engine", "EngineError", "Log", "Outcome", "open_engine"]
