"""What a person found out about mutants that nothing can tell from the original.

A TOML file of entries

    [[equivalent]]
    id = "0123456789"
    file = "contracts/Vault.vy"
    operator = "edge"
    before = "if x < y:"
    after = "if x <= y:"
    reason = "x is never y: ..."

The id is that of the mutant; the other fields say the same to a reader, and are checked.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from lockstep.errors import InputError
from lockstep.mutation.mutants import Mutant

FIELDS = ("id", "file", "operator", "before", "after", "reason")
SHORTEST = 20  # characters of a reason


def read_reasons(path: Path, mutants: Mapping[str, Mutant]) -> dict[str, str]:
    """Reasons by id. Raises InputError for an entry that is not about one of the mutants."""
    if not path.exists():
        return {}
    try:
        entries = tomllib.loads(path.read_text()).get("equivalent", [])
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: {error}; correct the file") from None
    reasons: dict[str, str] = {}
    for entry in entries:
        wrong = _fault(entry, mutants, reasons)
        if wrong:
            name = entry.get("id", "?") if isinstance(entry, dict) else "?"
            raise InputError(f"{path}: entry {name} {wrong}")
        reasons[entry["id"]] = " ".join(entry["reason"].split())
    return reasons


def _fault(entry: object, mutants: Mapping[str, Mutant], known: Mapping[str, str]) -> str:
    if not isinstance(entry, dict) or set(entry) != set(FIELDS):
        return f"must have exactly the fields {', '.join(FIELDS)}"
    if not all(isinstance(value, str) for value in entry.values()):
        return "has a field that is no text"
    if entry["id"] in known:
        return "is there twice; remove one"
    mutant = mutants.get(entry["id"])
    if mutant is None:
        return "matches no mutant: the source has changed; argue it anew or remove it"
    for field in FIELDS[1:-1]:
        if entry[field] != getattr(mutant, field):
            return f"says {field} {entry[field]!r}, the mutant has {getattr(mutant, field)!r}"
    if len(entry["reason"].strip()) < SHORTEST:
        return "gives no reason; say why nothing can tell it from the original"
    return ""


def entry_text(mutant: Mutant, reason: str) -> str:
    """An entry for the file."""
    lines = ["[[equivalent]]"]
    for field, value in (
        *((name, getattr(mutant, name)) for name in FIELDS[:-1]),
        ("reason", reason),
    ):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'{field} = "{escaped}"')
    return "\n".join(lines) + "\n"
