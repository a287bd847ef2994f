"""The handler of the Foundry campaign: as many functions of an action as its weight says."""

import re
from pathlib import Path

from rivals.vault.generator import WEIGHTS

SOURCE = Path(__file__).with_name("Campaign.sol")


def handler() -> str:
    """Campaign.sol with its external functions: Foundry calls each of them equally often."""
    source = SOURCE.read_text()
    functions = []
    for action, weight in WEIGHTS.items():
        name = "_plain" + action.title().replace("_", "")
        match = re.search(rf"function {name}\(([^)]*)\)", source)
        assert match is not None, name
        parameters = " ".join(match[1].split())
        arguments = ", ".join(part.split()[-1] for part in parameters.split(","))
        functions += [
            f"function {action}_{i}({parameters}) external {{ {name}({arguments}); }}"
            for i in range(weight)
        ]
    return source.replace("/*FUNCTIONS*/", "\n    ".join(functions))


def selectors() -> list[str]:
    """Signatures of the interface the handler calls the vault by."""
    text = SOURCE.read_text()
    interface = text[text.index("interface IVault") :]
    found = re.findall(r"function (\w+)\(([^)]*)\)", interface[: interface.index("}")])
    return [f"{name}({types.replace(' ', '')})" for name, types in found]
