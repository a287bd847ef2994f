"""What is rare is kept on disk, later campaigns begin with it, and a damaged file is told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_vault
from click.testing import CliRunner, Result
from featured_vault import ADAPTER

from lockstep.campaign import FOLLOWING, Plan, run_campaign
from lockstep.cli import fuzz_command
from lockstep.corpus import FORMAT, Corpus, Entry, entry_of, read_entry
from lockstep.distil import Distiller, agrees, distil, keep_rare
from lockstep.engines import GENESIS_TIME
from lockstep.errors import InputError
from lockstep.step import Step

CONFIG = {"first_id": 1}
THIRD = "third deposit taken out"


def story(count: int = 3) -> list[Step]:
    """Deposits taken out again, between others that are not needed."""
    steps = []
    for i in range(count):
        at = GENESIS_TIME + 10 * i
        steps.append(Step("open", "user_257", (5,), at, "invalid"))
        steps.append(Step("open", "user_256", (100 + i,), at))
        steps.append(Step("open", "user_258", (999,), at))
        steps.append(Step("close", "user_256", (2 * i + 1,), at))
    return steps


def small_entry() -> Entry:
    return entry_of(ADAPTER, {**CONFIG, "seed": 5, "chain": 2}, story(), [THIRD])


def write(folder: Path, entry: Entry) -> Path:
    path = Corpus(ADAPTER, [], folder).write(entry)
    assert path is not None
    return path


def run_fuzz(*args: str) -> Result:
    command = fuzz_command(lambda values: (ADAPTER, [CONFIG]), about="Fuzz the toy.")
    return CliRunner().invoke(command, [*args, "--processes", "1", "--length", "2000"])


# Files


def test_an_entry_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = write(tmp_path, small_entry())
    entry = read_entry(path, ADAPTER)
    assert entry == small_entry()
    assert entry.config == CONFIG  # nothing of the chain that found it
    assert path.name == f"toy-vault-{entry.digest}.json"
    assert [path.name for path in tmp_path.iterdir()] == [path.name]  # nothing left over


def damaged(text: str, **changes: object) -> str:
    return json.dumps({**json.loads(text), **changes})


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[: len(text) // 2], "is cut short or no JSON; restore or delete it"),
        (lambda text: "", "is cut short or no JSON; restore or delete it"),
        (lambda text: "[1, 2]", "is no corpus entry; move it out of the corpus"),
        (
            lambda text: damaged(text, format=FORMAT + 1),
            f"has format {FORMAT + 1}, this version reads {FORMAT}; use the version that wrote it",
        ),
        (
            lambda text: damaged(text, adapter="another"),
            "is for 'another', not for 'toy vault'; name a corpus of your own with CORPUS=folder",
        ),
        (lambda text: text.replace("999", "998"), "was edited, its digest is another's; restore"),
        (lambda text: damaged(text, steps=[[1]]), "lacks parts of an entry; restore or delete it"),
        (lambda text: damaged(text, steps=None), "lacks parts of an entry; restore or delete it"),
    ],
)
def test_a_damaged_file_stops_the_campaign_before_it_begins_and_is_left_alone(
    damage: object, told: str, tmp_path: Path
) -> None:
    path = write(tmp_path, small_entry())
    text = damage(path.read_text())  # type: ignore[operator]
    path.write_text(text)
    result = run_fuzz("--steps", "100", "--corpus", str(tmp_path))
    assert result.exit_code == 2
    assert result.output.startswith(f"error: corpus file {path}: {told}")
    assert result.output.count("\n") == 1
    assert path.read_text() == text


def test_an_unknown_action_is_told(tmp_path: Path) -> None:
    entry = entry_of(ADAPTER, CONFIG, [Step("burn", "user_256", (1,), GENESIS_TIME)], ["x"])
    path = write(tmp_path, entry)
    with pytest.raises(InputError, match="has an action the adapter does not know: burn; use the"):
        read_entry(path, ADAPTER)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_in_place_of_the_folder_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = run_fuzz("--steps", "100", "--corpus", str(tmp_path / name))
    assert result.exit_code == 2
    assert "name a folder" in result.output or "choose another folder" in result.output
    assert (tmp_path / "file").read_text() == "mine"


# Shortening


def test_an_entry_is_shortened_to_what_reaches_its_feature(tmp_path: Path) -> None:
    corpus = Corpus(ADAPTER, [], tmp_path)
    (made,) = distil(ADAPTER, corpus, [small_entry()], {THIRD}, 30)
    assert [step.action for step in made.steps] == ["open", "close"] * 3
    # The identifiers are those of the deposits that are left.
    assert [step.args[0] for step in made.steps if step.action == "close"] == [1, 2, 3]
    assert Corpus(ADAPTER, [tmp_path]).entries == (made,)


def test_what_there_is_no_time_for_stays_as_it_was(tmp_path: Path) -> None:
    corpus = Corpus(ADAPTER, [], tmp_path)
    path = write(tmp_path, small_entry())
    assert distil(ADAPTER, corpus, [small_entry()], {THIRD}, 0) == []
    assert read_entry(path, ADAPTER) == small_entry()


def test_what_is_not_rare_is_not_kept(tmp_path: Path) -> None:
    corpus = Corpus(ADAPTER, [], tmp_path)
    corpus.write(small_entry())
    assert distil(ADAPTER, corpus, [small_entry()], set(), 30) == []
    assert list(tmp_path.iterdir()) == []


def test_the_shortened_entry_runs_alike_on_both_sides() -> None:
    distiller = Distiller(ADAPTER, 30)
    try:
        short = distiller.shorten(CONFIG, distiller.whole(small_entry()), THIRD)
    finally:
        distiller.close()
    assert agrees(ADAPTER, CONFIG, short.steps)
    bug = toy_vault.planted("self.fees += fee", "self.fees += 0")
    assert not agrees(type(ADAPTER)(bug.overrides), CONFIG, short.steps)


# Campaigns


def test_a_campaign_begins_with_the_entries_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, small_entry())
    corpus = Corpus(ADAPTER, [tmp_path])
    plan = Plan(ADAPTER, 3_000, 1, [{"first_id": 7}, CONFIG], length=1_000, corpus=corpus)
    first, *others = plan.chains()
    assert first.config["entry"] == small_entry().digest
    assert first.config["first_id"] == 1  # the deployment of the entry
    assert first.steps == len(story()) + FOLLOWING
    assert not any("entry" in chain.config for chain in others)
    tally = run_campaign(plan).tally
    assert tally.steps == 3_000
    assert tally.features[THIRD] >= 1
    assert tally.counts["open", "invalid", False, False, "too small"] == 3


def test_other_chains_are_the_same_with_a_corpus_and_without(tmp_path: Path) -> None:
    write(tmp_path, small_entry())
    plan = Plan(ADAPTER, 4_000, 6, [CONFIG], length=1_000)
    seeds = [chain.config["seed"] for chain in plan.chains()]
    with_corpus = plan._replace(corpus=Corpus(ADAPTER, [tmp_path]))
    assert [chain.config["seed"] for chain in with_corpus.chains()][1:] == seeds


def test_the_same_seed_and_corpus_repeat_the_campaign_with_any_processes(tmp_path: Path) -> None:
    for count in (3, 4, 5):
        write(tmp_path, entry_of(ADAPTER, CONFIG, story(count), [f"story of {count}"]))
    corpus = Corpus(ADAPTER, [tmp_path])
    plan = Plan(ADAPTER, 3_000, 4, [CONFIG], length=500, corpus=corpus)
    one, two = run_campaign(plan).tally, run_campaign(plan, processes=2).tally
    assert one.counts == two.counts
    assert one.features == two.features
    assert Corpus(ADAPTER, [tmp_path]).digest == corpus.digest


def test_entries_take_a_quarter_of_the_steps_at_most(tmp_path: Path) -> None:
    for count in range(3, 23):
        write(tmp_path, entry_of(ADAPTER, CONFIG, story(count), [f"story of {count}"]))
    plan = Plan(ADAPTER, 4_000, 1, [CONFIG], corpus=Corpus(ADAPTER, [tmp_path]))
    begun = [chain for chain in plan.chains() if "entry" in chain.config]
    assert 0 < sum(chain.steps for chain in begun) <= 1_000
    assert sum(chain.steps for chain in plan.chains()) == 4_000


def test_what_a_campaign_finds_is_kept_short_and_found_no_second_time(tmp_path: Path) -> None:
    args = ("--steps", "4000", "--seed", "1", "--corpus", str(tmp_path))
    first = run_fuzz(*args)
    assert first.exit_code == 0, first.output
    kept = Corpus(ADAPTER, [tmp_path])
    assert THIRD in kept.known
    assert all(len(entry.steps) < 20 for entry in kept.entries)
    assert f"corpus {tmp_path}: {len(kept.entries)} entries added" in " ".join(first.output.split())
    second = run_fuzz(*args)
    assert f"corpus {tmp_path}: 0 entries added" in " ".join(second.output.split())
    assert kept.digest in second.output
    assert Corpus(ADAPTER, [tmp_path]).entries == kept.entries


def test_without_a_corpus_nothing_is_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    command = fuzz_command(
        lambda values: (ADAPTER, [CONFIG]), about="Fuzz the toy.", corpus=tmp_path
    )
    result = CliRunner().invoke(command, ["--steps", "200", "--corpus", "none"])
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["broken.json"]


def test_a_failure_loses_nothing_that_was_found(tmp_path: Path) -> None:
    bug = toy_vault.planted("self.fees += fee", "self.fees += fee if self.next_id < 120 else 0")
    adapter = type(ADAPTER)(bug.overrides)
    corpus = Corpus(adapter, [], tmp_path)
    result = run_campaign(Plan(adapter, 2_000, 1, [CONFIG], corpus=corpus))
    assert result.divergence is not None
    (path,) = result.tally.found
    kept = read_entry(path, adapter).steps
    assert 0 < len(kept) < len(result.divergence.steps)
    assert list(kept) == result.divergence.steps[: len(kept)]


def test_interruption_loses_nothing_that_was_found(tmp_path: Path) -> None:
    script = (
        "from featured_vault import ADAPTER\n"
        "from lockstep.cli import fuzz_command\n"
        f"fuzz_command(lambda values: (ADAPTER, [{CONFIG!r}]), about='Fuzz.')()"
    )
    folder = tmp_path / "corpus"
    env = {**os.environ, "PYTHONPATH": f"{toy_vault.ROOT}:{Path(__file__).parent}"}
    args = ["--steps", "100_000_000", "--length", "100_000_000", "--corpus", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *args, "--processes", "1"],
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
        env=env,
    )
    # The first thousand steps of the chain are written while it runs.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(folder.glob("*.json")):
        time.sleep(0.1)
    assert len(list(folder.glob("*.json"))) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    (path,) = folder.glob("*.json")
    assert THIRD in read_entry(path, ADAPTER).features


def test_a_leftover_of_an_interrupted_campaign_is_shortened_by_the_next(tmp_path: Path) -> None:
    long = entry_of(ADAPTER, CONFIG, story(400), [THIRD])
    path = write(tmp_path, long)
    corpus = Corpus(ADAPTER, [], tmp_path)
    plan = Plan(ADAPTER, 500, 1, [CONFIG], corpus=corpus)
    assert not any("entry" in chain.config for chain in plan.chains())  # too long to begin with
    (made,) = keep_rare(ADAPTER, corpus, run_campaign(plan).tally, 30)
    assert made.features == (THIRD,)
    assert not path.exists()
