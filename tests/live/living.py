"""A demonstration as a person starts it: a process, what it says, and what it leaves behind."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

START = "2020-03-12T14:00"  # of the built-in crash: its first leg down
PAGE = re.compile(r"THE PAGE: (http://\S+/)")
NODE = re.compile(r"anvil at (http://\S+)")
DEPLOYED = re.compile(r"market (0x\w+) deployed")


class Demo:
    """`python -m operations.demo demo` in a folder of its own, its page on a free port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "operations.demo", "demo", "--port=0", *options]
        self.process = subprocess.Popen(
            [*command, f"--folder={folder}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.append(line)

    @property
    def said(self) -> str:
        """All that it has said so far."""
        return "".join(self._said)

    def wait_for(self, pattern: re.Pattern[str], seconds: float = 120) -> str:
        """What the pattern's group finds in what it says, as soon as it does."""
        deadline = time.monotonic() + seconds
        while True:
            if found := pattern.search(self.said):
                return found[1]
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def get(self, path: str) -> object:
        """JSON from its page."""
        address = self.wait_for(PAGE)
        with urllib.request.urlopen(address + path.removeprefix("/"), timeout=10) as answer:
            return json.load(answer)

    def processes(self) -> dict[int, str]:
        """Commands of those that work for it, by id: its own, and the node with what minds it."""
        port = NODE.search(self.said)
        names = [str(self.folder)] + ([f"--port {port[1].rsplit(':', 1)[1]} "] if port else [])
        return {
            number: command
            for number, command in _commands()
            if any(name in command for name in names)
        }

    def stop(self, number: int = signal.SIGINT, seconds: float = 30) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """The exit code, when it ends."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def close(self) -> None:
        """Ends it whatever it does."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join()
        self.process.stdout.close()


def _commands() -> Iterator[tuple[int, str]]:
    """All processes that run, with their arguments."""
    if not Path("/proc/self/cmdline").exists():
        listed = subprocess.run(["ps", "-axww", "-o", "pid=,args="], capture_output=True, text=True)
        for line in listed.stdout.splitlines():
            number, _, command = line.strip().partition(" ")
            yield int(number), command
        return
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            yield int(entry.parent.name), entry.read_bytes().replace(b"\0", b" ").decode()
