"""Results on disk, one file each and each written whole: an interrupted run goes on where it was.

A folder is named by the digest of everything that its results depend on, so that none outlives a
change; folders of other digests are removed.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from lockstep.regression import write_whole


class Results:
    """JSON objects by name, of one kind and one state of the sources."""

    def __init__(self, base: Path, kind: str, digest: str) -> None:
        self._folder = base / f"{kind}-{digest}"
        if base.is_dir():
            for other in base.glob(f"{kind}-*"):
                if other != self._folder:
                    shutil.rmtree(other, ignore_errors=True)

    def get(self, name: str) -> dict[str, Any] | None:
        """None when there is none, or none that can be read."""
        try:
            found = json.loads((self._folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def put(self, name: str, content: dict[str, Any]) -> None:
        write_whole(self._folder / f"{name}.json", json.dumps(content))
