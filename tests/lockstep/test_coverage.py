import pickle
from pathlib import Path

import pytest
from eth_abi.abi import encode as abi_encode
from toy_vault import ADAPTER, DEPLOYER

from lockstep import abi
from lockstep.campaign import Plan, run_campaign
from lockstep.compiler import Sources
from lockstep.coverage import probes
from lockstep.coverage.probes import Branch, Line, instrument
from lockstep.coverage.record import Coverage
from lockstep.coverage.recorder import Recorder
from lockstep.coverage.unreachable import read_entries, resolve
from lockstep.engines.base import PROBES
from lockstep.engines.revm import RevmEngine
from lockstep.errors import InputError

ROOT = Path(__file__).parents[2]
PATHS = "tests/lockstep/Paths.vy"
TEXT = (ROOT / PATHS).read_text().splitlines()
SOURCES = Sources.of(PATHS, ROOT)
ARTIFACT = SOURCES.artifact()
INSTRUMENTED = instrument(SOURCES, ARTIFACT)
ARGUMENTS = abi_encode(["uint256", "string"], [77, "paths of a contract"])
EVERYTHING = {item for _, told in INSTRUMENTED.addresses(0) for item in told}
TELLS = dict(INSTRUMENTED.addresses(0))
CALLER = "0x" + "ca" * 20

CALLS = {
    name: abi.encoder(signature)
    for name, signature in {
        "sign": "sign(int256)",
        "choice": "choice(uint256)",
        "both": "both(uint256,uint256,uint256)",
        "either": "either(uint256,uint256)",
        "guarded": "guarded(uint256)",
        "passed_on": "passed_on(uint256)",
        "name": "name()",
        "total": "total()",
    }.items()
}


def summed(values, limit):
    return abi.selector("sum(uint256[],uint256)") + abi_encode(
        ["uint256[]", "uint256"], [values, limit]
    )


class Contract:
    """Paths.vy with probes, on an engine of its own."""

    def __init__(self, known=frozenset(), compact_every=100_000):
        self.engine = RevmEngine(compact_every=compact_every)
        self.engine.take_probes()
        code = INSTRUMENTED.code(0, set(known))
        self.address = self.engine.deploy(code + ARGUMENTS, DEPLOYER)
        self.deployed = self.hit()

    def call(self, name, *args):
        data = summed(*args) if name == "sum" else CALLS[name](*args)
        return self.engine.call(CALLER, self.address, data)

    def hit(self):
        return {item for address in self.engine.probed() for item in TELLS[address]}

    def outcomes(self, kind, text):
        return {
            item.outcome
            for item in self.hit()
            if isinstance(item, Branch) and item.kind == kind and item.text == text
        }

    def ran(self, text):
        (number,) = [i for i, line in enumerate(TEXT, 1) if line.strip() == text]
        return Line(PATHS, number) in self.hit()


@pytest.fixture
def contract():
    return Contract()


def test_without_probes_the_code_is_the_compilers_own():
    """instrument() fails if what it puts probes into does not assemble to the artifact's code."""
    data, _ = SOURCES.load()
    with pytest.raises(RuntimeError, match="not what the compiler made"):
        probes._instrument(data, SOURCES.base, ARTIFACT.initcode[:-1] + b"\x00")


def test_every_condition_of_the_source_has_both_its_outcomes():
    branches = {item for item in EVERYTHING if isinstance(item, Branch)}
    assert {(item.kind, item.text) for item in branches} == {
        ("assert", "base < 1000"),
        ("assert", "ok"),
        ("assert", "self._is_even(x)"),
        ("assert", "x != 4"),
        ("if", "x < 0"),
        ("if", "x == 0"),
        ("if", "value == 0"),
        ("if", "found > limit"),
        ("choice", "x > 10"),
        ("and", "x > 0"),
        ("and", "y > 0"),
        ("or", "x > 0"),
        ("for", "values"),
    }
    assert all(item._replace(outcome=not item.outcome) in branches for item in branches)


def test_every_line_with_code_of_its_own_is_there():
    numbers = {item.number for item in EVERYTHING if isinstance(item, Line)}
    starts = ("assert", "if ", "elif ", "return", "raise", "for ", "self.", "found")
    others = ("continue", "break", "BASE = base", "NAME = name", "total: public(uint256)")
    assert numbers == {
        i
        for i, line in enumerate(TEXT, 1)
        if line.strip().startswith(starts) or line.strip() in others
    }


@pytest.mark.parametrize(
    ("calls", "kind", "text", "outcomes"),
    [
        ([("sign", -5)], "if", "x < 0", {True}),
        ([("sign", 5)], "if", "x < 0", {False}),
        ([("sign", 5)], "if", "x == 0", {False}),
        ([("sign", 0)], "if", "x == 0", {True}),
        ([("choice", 11)], "choice", "x > 10", {True}),
        ([("choice", 10)], "choice", "x > 10", {False}),
        ([("choice", 11), ("choice", 10)], "choice", "x > 10", {True, False}),
        ([("both", 0, 1, 1)], "and", "x > 0", {False}),
        ([("both", 0, 1, 1)], "and", "y > 0", set()),
        ([("both", 1, 0, 1)], "and", "y > 0", {False}),
        ([("both", 1, 1, 0)], "and", "y > 0", {True}),
        ([("either", 1, 0)], "or", "x > 0", {True}),
        ([("either", 0, 0)], "or", "x > 0", {False}),
        ([("guarded", 2)], "assert", "self._is_even(x)", {True}),
        ([("guarded", 3)], "assert", "self._is_even(x)", {False}),
        ([("guarded", 4)], "assert", "x != 4", {False}),
        ([("sum", [], 5)], "for", "values", {False}),
        ([("sum", [9, 9], 5)], "for", "values", {True}),
        ([("sum", [1, 2], 5)], "for", "values", {True, False}),
        ([("sum", [0], 5)], "if", "value == 0", {True}),
        ([("sum", [1], 5)], "if", "value == 0", {False}),
        ([("sum", [9], 5)], "if", "found > limit", {True}),
        ([("sum", [1], 5)], "if", "found > limit", {False}),
    ],
)
def test_a_condition_tells_the_outcomes_it_had(contract, calls, kind, text, outcomes):
    for name, *args in calls:
        contract.call(name, *args)
    assert contract.outcomes(kind, text) == outcomes


def test_a_line_is_hit_when_its_code_runs_and_not_before(contract):
    assert not contract.ran("self.total += 1")
    contract.call("sign", 5)
    assert not contract.ran("self.total += 1")
    contract.call("sign", 0)
    assert contract.ran("self.total += 1")


def test_what_ran_in_a_call_that_reverts_counts(contract):
    assert not contract.call("passed_on", 2).ok
    assert contract.ran("self.total = 7")
    assert contract.ran('raise "always"')


def test_what_ran_in_a_static_call_counts(contract):
    contract.call("passed_on", 2)
    assert contract.outcomes("assert", "x != 4") == {True}


def test_what_ran_before_a_snapshot_is_reverted_counts(contract):
    snapshot = contract.engine.snapshot()
    contract.call("sign", 0)
    contract.engine.revert(snapshot)
    assert contract.ran("self.total += 1")


def test_what_ran_in_a_view_counts(contract):
    assert contract.engine.view(contract.address, CALLS["choice"](11)).ok
    assert contract.outcomes("choice", "x > 10") == {True}


def test_what_ran_counts_after_the_state_has_moved_to_a_fresh_evm():
    contract = Contract(compact_every=5)
    contract.call("guarded", 3)
    for _ in range(12):
        assert contract.call("sign", 5).ok
    assert contract.outcomes("assert", "self._is_even(x)") == {False}
    assert contract.outcomes("if", "x < 0") == {False}


def test_the_constructor_is_covered(contract):
    assert contract.outcomes("assert", "base < 1000") == {True}
    assert contract.ran("BASE = base")


def test_a_constructor_that_reverts_is_covered(contract):
    code = INSTRUMENTED.code(0, set()) + abi_encode(["uint256", "string"], [1_000, ""])
    with pytest.raises(RuntimeError, match="deployment failed"):
        contract.engine.deploy(code, DEPLOYER)
    assert contract.outcomes("assert", "base < 1000") == {True, False}


def every_call(engine, address):
    calls = [
        *(CALLS["sign"](x) for x in (-1, 0, 1)),
        *(CALLS["choice"](x) for x in (10, 11)),
        *(CALLS["both"](*x) for x in ((0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1))),
        *(CALLS["either"](*x) for x in ((0, 0), (0, 1), (1, 0))),
        *(CALLS["guarded"](x) for x in (2, 3, 4)),
        *(CALLS["passed_on"](x) for x in (2, 3)),
        *(summed(x, 5) for x in ([], [0, 1, 2], [9, 9])),
        CALLS["name"](),
        CALLS["total"](),
        b"\x00\x01\x02\x03",
    ]
    return [engine.call(CALLER, address, call) for call in calls]


@pytest.mark.parametrize("known", [set(), EVERYTHING], ids=["all probes", "no probes"])
def test_code_with_probes_does_what_it_does_without(known):
    plain = RevmEngine()
    address = plain.deploy(ARTIFACT.initcode + ARGUMENTS, DEPLOYER)
    contract = Contract(known)
    assert contract.address == address
    assert every_call(contract.engine, contract.address) == every_call(plain, address)
    for slot in range(4):
        assert contract.engine.storage(address, slot) == plain.storage(address, slot)


def test_everything_can_be_covered(contract):
    every_call(contract.engine, contract.address)
    missed = {item for item in EVERYTHING - contract.hit()}
    assert missed == {_false("base < 1000")}


def test_immutables_stay_at_the_end_of_the_code(contract):
    assert contract.call("choice", 11).output == abi.word(77)
    assert contract.call("name").output == abi_encode(["string"], ["paths of a contract"])


def test_a_probe_that_has_told_all_is_gone():
    missing = Line(PATHS, TEXT.index("        return -1") + 1)
    contract = Contract(EVERYTHING - {missing})
    contract.call("sign", 1)
    contract.call("choice", 11)
    assert contract.hit() == set()
    contract.call("sign", -1)
    assert missing in contract.hit()


def test_a_condition_keeps_its_probe_until_both_outcomes_were_seen():
    contract = Contract(EVERYTHING - {_false("x > 10")})
    contract.call("choice", 11)
    contract.call("choice", 10)
    assert contract.outcomes("choice", "x > 10") == {True, False}


def _false(text):
    (found,) = [
        item
        for item in EVERYTHING
        if isinstance(item, Branch) and item.text == text and not item.outcome
    ]
    return found


def test_no_account_of_a_probe_is_left_to_the_contracts(contract):
    contract.call("sign", 0)
    assert all(address in PROBES for address in contract.engine.probed())


def test_a_campaign_covers_its_contracts():
    coverage = run_campaign(Plan(ADAPTER, 300, 1, length=100, coverage=True)).tally.coverage
    text = (ROOT / "tests/lockstep/Vault.vy").read_text().splitlines()
    missed = {text[item.number - 1].strip() for item in coverage.missed()}
    # Nobody asks for these; every other line and branch was run.
    assert missed == {
        "deposits: public(HashMap[uint256, Deposit])",
        "next_id: public(uint256)",
        "fees: public(uint256)",
        "balance_change: public(HashMap[address, int256])",
        "return self.deposits[id].amount",
        "for i: uint256 in range(10**9):",
        "self.fees += 0",
    }


def test_coverage_of_processes_adds_up():
    plan = Plan(ADAPTER, 400, 1, length=100, coverage=True)
    alone, shared = (run_campaign(plan, processes).tally.coverage for processes in (1, 2))
    assert shared.hit == alone.hit
    assert shared.all == alone.all


def test_a_campaign_without_coverage_has_none():
    assert run_campaign(Plan(ADAPTER, 100, 1)).tally.coverage.all == set()


def test_coverage_is_merged_and_pickled():
    one, other = Coverage(), Coverage()
    one.all, one.hit = {Line("a.vy", 1), Line("a.vy", 2)}, {Line("a.vy", 1)}
    other.all, other.hit = {Line("a.vy", 2), Line("b.vy", 3)}, {Line("a.vy", 2)}
    one.merge(pickle.loads(pickle.dumps(other)))
    assert one.missed() == [Line("b.vy", 3)]
    assert one.summary()["a.vy"]["lines"] == [2, 2]
    assert one.summary()["b.vy"]["missed"] == [{"path": "b.vy", "number": 3, "reason": ""}]


def test_reading_gives_what_is_new():
    recorder, coverage, engine = Recorder(ADAPTER), Coverage(), RevmEngine()
    twin = recorder.begin(coverage).new_twin(engine, {})
    deployed = recorder.read(engine, coverage)
    assert deployed
    assert recorder.read(engine, coverage) == set()
    engine.call(CALLER, twin.address, abi.encoder("open(uint256)")(9))
    (new,) = [item for item in recorder.read(engine, coverage) if isinstance(item, Branch)]
    assert (new.text, new.outcome) == ("amount >= MINIMUM", False)


def test_the_summary_says_which_lines_have_code_and_why_others_do_not_run(contract):
    coverage = Coverage()
    contract.call("sign", 0)
    coverage.all, coverage.hit = EVERYTHING, contract.hit()
    entry = coverage.summary({_false("x > 10"): "as a test"})[PATHS]
    numbers = {item.number for item in EVERYTHING}
    assert entry["code"] == sorted(numbers)
    assert {"reason": "as a test", **_false("x > 10")._asdict()} in entry["missed"]
    assert TEXT.index("        self.total += 1") + 1 not in {x["number"] for x in entry["missed"]}


ENTRY = {"file": PATHS, "line": "return BASE if x > 10 else x", "reason": "as a test"}


def listed(tmp_path, coverage, **fields):
    path = tmp_path / "unreachable.toml"
    body = "\n".join(f'{name} = "{text}"' for name, text in fields.items())
    path.write_text(f"[[unreachable]]\n{body}\n")
    return resolve(read_entries(path), coverage, lambda name: (ROOT / name).read_text())


def test_a_listed_branch_has_its_reason(tmp_path, contract):
    coverage = Coverage()
    coverage.all = EVERYTHING
    fields = {**ENTRY, "branch": "x > 10 is never false"}
    assert listed(tmp_path, coverage, **fields) == ({_false("x > 10"): "as a test"}, [])


def test_a_listed_line_is_the_line_and_not_its_branches(tmp_path):
    coverage = Coverage()
    coverage.all = EVERYTHING
    reasons, wrong = listed(tmp_path, coverage, **ENTRY)
    assert not wrong
    assert [type(item) for item in reasons] == [Line]


def test_a_line_that_is_there_twice_is_told_by_the_one_before(tmp_path):
    path = tmp_path / "unreachable.toml"
    path.write_text(
        '[[unreachable]]\nfile = "a.vy"\nline = "return 0"\nbelow = "if y:"\nreason = "a test"\n'
    )
    coverage = Coverage()
    coverage.all = {Line("a.vy", 2), Line("a.vy", 4)}
    text = "if x:\n    return 0\nif y:\n    return 0\n"
    reasons, wrong = resolve(read_entries(path), coverage, lambda name: text)
    assert (reasons, wrong) == ({Line("a.vy", 4): "a test"}, [])


def test_an_entry_that_names_nothing_or_what_ran_is_an_error(tmp_path):
    coverage = Coverage()
    coverage.all = coverage.hit = EVERYTHING
    _, wrong = listed(tmp_path, coverage, **ENTRY)
    assert wrong[0].endswith("was reached; take the entry out")
    _, wrong = listed(tmp_path, coverage, **{**ENTRY, "line": "return BASE"})
    assert "names nothing" in wrong[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[unreachable", "Expected"),
        ('[[unreachable]]\nfile = "x"', "entry 1 needs file, line and reason"),
        ('[[unreachable]]\nfile = "x"\nline = "y"\nreason = ""', "entry 1 needs"),
        ('[[unreachable]]\nfile = "x"\nline = "y"\nreason = "z"\nwhy = "w"', "entry 1 needs"),
    ],
)
def test_a_list_that_cannot_be_read_is_named(tmp_path, text, message):
    path = tmp_path / "unreachable.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_entries(path)
    with pytest.raises(InputError, match="No such file"):
        read_entries(tmp_path / "none.toml")


def test_the_model_is_covered_too():
    plan = Plan(ADAPTER, 200, 1, length=100, coverage=True)
    summary = run_campaign(plan).tally.summary()["coverage"]["model"]
    entry = summary["tests/lockstep/toy_vault.py"]
    text = (ROOT / "tests/lockstep/toy_vault.py").read_text().splitlines()
    missed = {text[item["number"] - 1].strip() for item in entry["missed"]}
    assert 'raise Revert("over cap")' not in missed
    assert "assert text.count(old) == 1, old" in missed
    assert entry["branches"][0] > 5


def test_the_model_is_not_traced_without_coverage():
    tally = run_campaign(Plan(ADAPTER, 100, 1)).tally
    assert tally.arcs == {}
    assert tally.summary()["coverage"] == {"contracts": {}, "model": {}}
