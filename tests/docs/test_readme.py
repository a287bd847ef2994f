"""The README shows what the model really does, and points to files that exist."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_worked_example_is_what_its_script_prints() -> None:
    script = ROOT / "docs" / "example.py"
    # -I -S: neither the environment nor an installed package takes part.
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script)], capture_output=True, text=True, check=True
    )
    shown = re.findall(r"^```text\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert shown == [done.stdout]


def test_documents_link_to_files_that_exist() -> None:
    links = []
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            links.append(target)
            assert (document.parent / target).is_file(), f"{document.name} links to {target}"
    assert links


def test_documents_name_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set()
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = document.read_text(encoding="utf-8")
        named |= set(re.findall(r"(?:`|^ *|\$ )make ([a-z-]+)(?=[` \n])", text, re.MULTILINE))
    assert len(named) > 10
    assert named <= targets


def test_specification_names_every_revert_reason_of_the_contracts() -> None:
    errors = (ROOT / "contracts" / "modules" / "errors.vy").read_text(encoding="utf-8")
    reasons = re.findall(r'^[A-Z_]+: constant\(String\[32\]\) = "(.*)"$', errors, re.MULTILINE)
    specification = " ".join((ROOT / "docs" / "spec.md").read_text(encoding="utf-8").split())
    assert reasons
    assert [reason for reason in reasons if f"`{reason}`" not in specification] == []
