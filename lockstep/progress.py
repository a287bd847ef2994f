"""Signs of life: a bar on a terminal, a plain line every ten seconds elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10


class StepProgress:
    """Context manager; `tick(n)` says that n more steps are done."""

    def __init__(self, total: int, console: Console) -> None:
        self._total = total
        self._console = console
        self._done = 0
        self._started = self._told = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("fuzzing"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[speed]} steps/s"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task("steps", total=total, speed="-")

    def __enter__(self) -> "StepProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def tick(self, steps: int) -> None:
        self._done += steps
        now = time.monotonic()
        speed = f"{self._done / max(now - self._started, 1e-9):,.0f}"
        if self._bar:
            self._bar.update(self._task, advance=steps, speed=speed)
        elif now - self._told >= PLAIN_SECONDS:
            self._told = now
            share = self._done / self._total
            self._console.print(f"{self._done:,} steps, {share:.0%}, {speed} steps/s")
