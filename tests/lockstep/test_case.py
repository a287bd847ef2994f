"""Cases on disk are what was written, or are refused in a line that says what to do."""

import json
from pathlib import Path

import pytest
import toy_vault
from toy_vault import ADAPTER, VaultAdapter, planted

from lockstep.campaign import Plan, investigate, run_campaign
from lockstep.case import Case, read_case, write_case
from lockstep.compare import Mismatch
from lockstep.engines import GENESIS_TIME, open_engine
from lockstep.errors import InputError
from lockstep.regression import replay, write_regression
from lockstep.step import Step

STEPS = [
    Step("open", "user_256", (2**255,), GENESIS_TIME, "invalid"),
    Step("open", "user_257", (12_345,), GENESIS_TIME + 3),
    Step("close", "user_257", (1,), GENESIS_TIME + 3, "edge"),
]
CASE = Case("toy_vault:ADAPTER", {"first_id": 1}, STEPS, "pyevm", "storage", "fees: 1, not 2")


def write(folder: Path) -> Path:
    path = folder / "case.json"
    write_case(path, CASE)
    return path


def changed(path: Path, **entries: object) -> Path:
    """The same case with other content, and without a checksum."""
    content = json.loads(path.read_text())
    del content["checksum"]
    path.write_text(json.dumps(content | entries))
    return path


def refused(path: Path, *says: str, adapter: VaultAdapter = ADAPTER) -> None:
    with pytest.raises(InputError) as caught:
        read_case(path, adapter)
    text = str(caught.value)
    assert "\n" not in text
    for part in (str(path), *says):
        assert part in text, text


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert read_case(path, ADAPTER) == CASE
    assert [entry.name for entry in tmp_path.iterdir()] == ["case.json"]


def test_a_case_may_be_laid_out_anew_but_not_edited(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
    assert read_case(path, ADAPTER) == CASE
    path.write_text(path.read_text().replace("12345", "12346"))
    refused(path, "was edited", "undo the edit, or delete the checksum")


def test_an_edited_case_without_a_checksum_is_taken(tmp_path: Path) -> None:
    path = changed(write(tmp_path), steps=[["open", "user_256", [5], GENESIS_TIME]])
    assert read_case(path, ADAPTER).steps == [Step("open", "user_256", (5,), GENESIS_TIME)]


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_case_that_was_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    path = write(tmp_path)
    text = path.read_text()
    path.write_text(text[: int(share * len(text))])
    refused(path, "broken at line", "cut short", "write it again")


def test_files_that_are_no_case_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.json", "no such file", "name a case or a test file")
    refused(tmp_path, "is a directory")
    path = tmp_path / "other.json"
    path.write_text("[1, 2]")
    refused(path, "no case", "a failing campaign has written")
    path.write_bytes(b"\xff\xfe\x00")
    refused(path, "no text file")
    test = tmp_path / "test_other.py"
    for text, says in (
        ("STEPS = 3", "no regression test"),
        ("def (", "no regression test"),
        ("CONFIG = {}\nSTEPS = [print('run')]\nfrom a import b", "step 1 is not"),
    ):
        test.write_text(text)
        refused(test, says)


def test_a_case_of_another_version_or_adapter_is_refused(tmp_path: Path) -> None:
    refused(changed(write(tmp_path), version=2), "of version 2, this is version 1", "wrote it")
    refused(changed(write(tmp_path), adapter="os:system"), "made for the adapter os:system")


BAD_STEPS = {
    "no list": ({}, "steps is no list"),
    "no step": ([["open"]], "step 1 is not [action, actor, [arguments], time, aim]"),
    "no text": ([["open", 3, [1], 9]], "step 1: action, actor or aim is no text"),
    "wrong argument": ([["open", "user_256", [1.5], 9]], "step 1 (open): an argument is neither"),
    "a truth": ([["open", "user_256", [True], 9]], "step 1 (open): an argument is neither"),
    "no time": ([["open", "user_256", [1], "now"]], "step 1 (open): 'now' is no time"),
    "unknown": ([["steal", "user_256", [1], 9]], "no action is called 'steal'; there are open"),
    "back": (
        [["open", "user_256", [1], 9], ["open", "user_256", [1], 8]],
        "step 2 (open): the time goes back from 9 to 8",
    ),
}


@pytest.mark.parametrize("bad", BAD_STEPS)
def test_steps_that_cannot_be_are_refused(tmp_path: Path, bad: str) -> None:
    steps, says = BAD_STEPS[bad]
    refused(changed(write(tmp_path), steps=steps), says)


def test_an_adapter_may_say_what_is_wrong_with_arguments(tmp_path: Path) -> None:
    class Strict(VaultAdapter):
        def complaint(self, step: Step) -> str | None:
            return "takes one argument, add it" if len(step.args) != 1 else None

    path = changed(write(tmp_path), steps=[["open", "user_256", [], 9]])
    refused(path, "step 1 (open): takes one argument, add it", adapter=Strict())


def test_a_regression_test_is_a_case_too_and_is_not_run(tmp_path: Path) -> None:
    path = write_regression(
        ADAPTER, CASE.config, STEPS, Mismatch("storage", "fees"), "revm", tmp_path
    )
    path.write_text(path.read_text() + "\nraise SystemExit\n")
    read = read_case(path, ADAPTER)
    assert (read.adapter, read.config, read.steps) == (CASE.adapter, CASE.config, STEPS)


def test_a_failing_campaign_leaves_a_test_and_a_case_of_the_same_steps(tmp_path: Path) -> None:
    buggy = planted("rate + 9_999)", "rate)")
    found = run_campaign(Plan(buggy, 3_000, 1)).divergence
    assert found is not None
    found = investigate(buggy, found, 20, tmp_path)
    case = read_case(found.case, ADAPTER)
    assert case == read_case(found.regression, ADAPTER)._replace(
        engine="revm", kind=found.kind, text=found.text
    )
    assert case.steps == found.steps
    replay(ADAPTER, found.config, found.steps, "pyevm")  # the correct contract passes
    with pytest.raises(AssertionError, match="return value: expected 9, got 10"):
        replay(buggy, found.config, found.steps, "pyevm")


def test_the_story_says_who_did_what_when_and_what_each_side_answered(tmp_path: Path) -> None:
    buggy = planted("rate + 9_999)", "rate)")
    steps = [
        Step("open", "user_257", (101,), GENESIS_TIME),
        Step("close", "user_256", (1,), GENESIS_TIME + 60),
        Step("close", "user_257", (1,), GENESIS_TIME + 60),
    ]
    path = write_regression(buggy, {}, steps, Mismatch("return value", "x"), "revm", tmp_path)
    story = path.read_text().split("The story:\n\n")[1].split('\n"""')[0]
    address = ADAPTER.new_twin(open_engine("revm"), {}).address
    owner = toy_vault.ACTORS["user_257"]
    assert story.splitlines() == [
        "1. 2020-01-01 00:00:00:",
        f"   user_257 opens an amount of 101 at {GENESIS_TIME}",
        "   both:     returns 1",
        f"             Opened(id=1, owner={owner}, amount=101) from {address}",
        "2. 60 s later:",
        f"   user_256 closes deposit 1 at {GENESIS_TIME + 60}",
        "   both:     reverts with 'not owner'",
        "3. at the same time:",
        f"   user_257 closes deposit 1 at {GENESIS_TIME + 60}",
        "   model:    returns 100  <--",
        f"             FeeTaken(fee=1) from {address}  <--",
        f"             Closed(id=1, payout=100) from {address}  <--",
        "   contract: returns 101  <--",
        f"             FeeTaken(fee=0) from {address}  <--",
        f"             Closed(id=1, payout=101) from {address}  <--",
    ]


def test_a_failure_is_not_lost_when_its_folder_cannot_be_written(tmp_path: Path) -> None:
    buggy = planted("rate + 9_999)", "rate)")
    found = run_campaign(Plan(buggy, 3_000, 1)).divergence
    assert found is not None
    (tmp_path / "file").write_text("in the way")
    found = investigate(buggy, found, 20, tmp_path / "file")
    assert Path(found.regression).is_file()
    assert read_case(found.case, ADAPTER).steps == found.steps
