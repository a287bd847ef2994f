"""From mutants to verdicts: compile each once, drop duplicates, hunt the rest, all on disk."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from lockstep.errors import InputError
from lockstep.mutation.compilation import InvalidMutant, compile_initcode, digest, tree_digest
from lockstep.mutation.hunt import KILLED, Beginning, Chain, Verdict, chains, doubt, hunt
from lockstep.mutation.mutants import Mutant
from lockstep.mutation.planting import code_digest, planted_code
from lockstep.mutation.processes import each
from lockstep.mutation.project import Project
from lockstep.mutation.python_source import Vocabulary, python_mutants
from lockstep.mutation.results import Results
from lockstep.mutation.vyper_source import reached, vyper_mutants

INVALID, DUPLICATE, SAME = "invalid", "duplicate", "same"
COMPILE_SECONDS = 300.0
GRACE_SECONDS = 20.0  # beyond a hunt's own time: a step of a mutant may never end
BASELINE_SECONDS = 5.0

Tell = Callable[[str, int, int], None]  # what, done, in all


class Entry(NamedTuple):
    """A mutant and what became of it."""

    mutant: Mutant
    outcome: str  # of the hunt, or invalid, duplicate, same
    text: str = ""  # the compiler's words, or the id of the first of the duplicates
    verdict: Verdict | None = None


class Unfinished(Exception):
    """Ctrl-C. `entries` is what was done."""

    def __init__(self, entries: list[Entry]) -> None:
        super().__init__("interrupted")
        self.entries = entries


class Compiled(NamedTuple):
    outcome: str  # "compiled", "invalid" or "same"
    text: str = ""
    digest: str = ""
    codes: Mapping[str, bytes] = {}  # deployables that differ from the original


def all_mutants(project: Project) -> tuple[list[Mutant], list[Mutant]]:
    """Of the contracts and of the model, all there are."""
    contracts = vyper_mutants(project.contracts, project.root, project.commutative)
    texts = {file: (project.root / file).read_text() for file in project.model}
    words = Vocabulary(texts, project.commutative)
    model = [
        item
        for file in project.model
        for item in python_mutants(file, project.root, words, project.unmutated)
    ]
    return contracts, model


class Runner:
    """One run over chosen mutants."""

    def __init__(
        self, project: Project, seed: int, seconds: float, processes: int, tell: Tell
    ) -> None:
        self.project = project
        self.seed = seed
        self.seconds = seconds
        self.processes = processes
        self.tell = tell
        root, base = project.root, project.root / project.results
        interfaces = [path for path in project.inputs if path.endswith(".vyi")]
        compiler = version("vyper")
        sources = _short(f"{tree_digest(root, [*project.contracts, *interfaces])} {compiler}")
        inputs = f"{tree_digest(root, project.inputs)} {_own_digest('hunt.py', 'planting.py')}"
        self._compiled = Results(base, "compiled", sources)
        self._hunted = Results(base, "hunted", _short(f"{inputs} {compiler} {seed}"))
        self._texts: dict[str, str] = {}
        self._original: dict[str, bytes] = {}
        self._reached: dict[str, set[tuple[str, str]]] = {}
        self._beginnings: Sequence[Beginning] = ()

    def run(self, mutants: Sequence[Mutant], least: Mapping[str, float]) -> list[Entry]:
        """What becomes of each, in their order. `least` has the seconds allowed for some by id,
        if not the usual. Raises Unfinished on Ctrl-C; what was done is on disk.
        """
        entries: dict[str, Entry] = {}
        try:
            codes = self._compile_all(mutants, entries)
            self._hunt_all([item for item in mutants if item.id in codes], codes, least, entries)
        except KeyboardInterrupt:
            raise Unfinished([entries[i.id] for i in mutants if i.id in entries]) from None
        return [entries[item.id] for item in mutants]

    # Compiling

    def _compile_all(
        self, mutants: Sequence[Mutant], entries: dict[str, Entry]
    ) -> dict[str, Compiled]:
        compiled: dict[str, Compiled] = {}
        missing = []
        for mutant in mutants:
            if mutant.file.endswith(".py"):
                compiled[mutant.id] = self._model_code(mutant)
                continue
            found = self._compiled.get(mutant.id)
            if found is None:
                missing.append(mutant)
            else:
                codes = {name: bytes.fromhex(code) for name, code in found.pop("codes").items()}
                compiled[mutant.id] = Compiled(**found, codes=codes)
        if missing:
            self._know_originals()
            self.tell("compiled", 0, len(missing))
        for done in each(missing, self._compile, self.processes, lambda _: COMPILE_SECONDS):
            result = (
                done.value if not done.failure else Compiled(INVALID, f"compiler: {done.failure}")
            )
            compiled[done.item.id] = result
            content = result._asdict()
            content["codes"] = {name: code.hex() for name, code in result.codes.items()}
            self._compiled.put(done.item.id, content)
            self.tell("compiled", len(compiled), len(mutants))
        return self._unique(mutants, compiled, entries)

    def _unique(
        self, mutants: Sequence[Mutant], compiled: dict[str, Compiled], entries: dict[str, Entry]
    ) -> dict[str, Compiled]:
        first: dict[str, str] = {}
        unique = {}
        for mutant in mutants:
            result = compiled[mutant.id]
            if result.outcome != "compiled":
                entries[mutant.id] = Entry(mutant, result.outcome, result.text)
            elif result.digest in first:
                entries[mutant.id] = Entry(mutant, DUPLICATE, first[result.digest])
            else:
                first[result.digest] = mutant.id
                unique[mutant.id] = result
        return unique

    def _know_originals(self) -> None:
        """Initcode of every deployable, and the functions it contains."""
        for name, path in self.project.deployables.items():
            self._original[name] = compile_initcode(path, self.project.root, {})
            self._reached[name] = reached(self.project.root / path, self.project.root)

    def _compile(self, mutant: Mutant) -> Compiled:
        text = mutant.apply(self._text(mutant.file))
        codes = {}
        try:
            for name in self._affected(mutant):
                path = self.project.deployables[name]
                code = compile_initcode(path, self.project.root, {mutant.file: text})
                if code != self._original[name]:
                    codes[name] = code
        except InvalidMutant as error:
            return Compiled(INVALID, str(error))
        return Compiled("compiled" if codes else SAME, "", digest(codes), codes)

    def _affected(self, mutant: Mutant) -> list[str]:
        """Deployables that contain the function, or name the constant."""
        if mutant.function:
            key = (mutant.file, mutant.function)
            return [name for name, functions in self._reached.items() if key in functions]
        name = re.compile(rf"\b{re.escape(mutant.before.partition(':')[0])}\b")
        users = {
            file
            for file in self.project.contracts
            if len(name.findall(self._text(file))) > (file == mutant.file)
        }
        if not all(self._has_functions(file) for file in users):
            return list(self._reached)  # another constant is made of it
        return [
            deployable
            for deployable, functions in self._reached.items()
            if users & {self.project.deployables[deployable], *(file for file, _ in functions)}
        ]

    def _has_functions(self, file: str) -> bool:
        return any(file == path for functions in self._reached.values() for path, _ in functions)

    def _model_code(self, mutant: Mutant) -> Compiled:
        try:
            found = code_digest(mutant.file, mutant.apply(self._text(mutant.file)))
        except (SyntaxError, ValueError) as error:
            return Compiled(INVALID, f"{type(error).__name__}: {error}")
        return Compiled("compiled" if found else SAME, "", found)

    def _text(self, file: str) -> str:
        if file not in self._texts:
            self._texts[file] = (self.project.root / file).read_text()
        return self._texts[file]

    # Hunting

    def _hunt_all(
        self,
        mutants: Sequence[Mutant],
        codes: Mapping[str, Compiled],
        least: Mapping[str, float],
        entries: dict[str, Entry],
    ) -> None:
        missing = []
        for mutant in mutants:
            verdict = self._known(mutant, least.get(mutant.id, self.seconds))
            if verdict is None:
                missing.append(mutant)
            else:
                entries[mutant.id] = Entry(mutant, verdict.outcome, "", verdict)
        if missing:
            self._beginnings = self.project.beginnings()
            self._check_baseline(BASELINE_SECONDS)
            self.tell("hunted", 0, len(missing))

        def limit(mutant: Mutant) -> float:
            return least.get(mutant.id, self.seconds)

        def work(mutant: Mutant) -> tuple[Verdict, str]:
            return self._hunt(mutant, codes[mutant.id].codes, limit(mutant))

        def longest(mutant: Mutant) -> float:
            return 2 * limit(mutant) + GRACE_SECONDS  # a kill is looked into afterwards

        number, again = 0, []
        for done in each(missing, work, self.processes, longest):
            if done.failure:
                again.append(done.item)
                continue
            number += 1
            self._keep(done.item, self._verdict(done.item, *done.value), entries)
            self.tell("hunted", number, len(missing))
        if again:
            # Nobody knows at which step: it has to happen twice, and never without a mutant.
            self._check_baseline(self.seconds)
        for done in each(again, work, 1, longest):
            if done.failure:
                text = "a step never ends" if done.failure == "hang" else "the process died"
                took = limit(done.item)
                verdict = Verdict(KILLED, done.failure, text, seconds=took, limit=took)
            else:
                verdict = self._verdict(done.item, *done.value)
            self._keep(done.item, verdict, entries)

    def _keep(self, mutant: Mutant, verdict: Verdict, entries: dict[str, Entry]) -> None:
        entries[mutant.id] = Entry(mutant, verdict.outcome, "", verdict)
        self._hunted.put(mutant.id, verdict._asdict())

    def _known(self, mutant: Mutant, seconds: float) -> Verdict | None:
        found = self._hunted.get(mutant.id)
        if found is None:
            return None
        verdict = Verdict(**found)
        if verdict.outcome == KILLED:
            return verdict if verdict.seconds <= seconds else None
        return verdict if verdict.limit >= seconds else None

    def _hunt(
        self, mutant: Mutant, codes: Mapping[str, bytes], seconds: float
    ) -> tuple[Verdict, str]:
        """The verdict; and how what killed it happens without it, too, if it does."""
        project = self.project
        adapter = project.build(codes)
        if codes:
            verdict, trace = hunt(adapter, self._chains(), seconds)
        else:
            with planted_code({mutant.file: mutant.apply(self._text(mutant.file))}):
                verdict, trace = hunt(adapter, self._chains(), seconds)
        return verdict, doubt(project.build({}), trace) if trace else ""

    def _chains(self) -> Iterator[Chain]:
        return chains(self.project.configs, self.seed, self._beginnings)

    @staticmethod
    def _verdict(mutant: Mutant, verdict: Verdict, doubts: str) -> Verdict:
        if doubts:
            raise InputError(
                f"chain {verdict.chain}, which kills mutant {mutant.id}, fails without it, too: "
                f"{doubts}; repair that first"
            )
        return verdict

    def _check_baseline(self, seconds: float) -> None:
        """Without a mutant nothing may be found, or every mutant would be 'killed'."""
        self.tell("baseline", 0, 1)
        adapter = self.project.build({})
        verdict, _ = hunt(adapter, self._chains(), seconds)
        if verdict.outcome == KILLED:
            raise InputError(
                f"without a mutant chain {verdict.chain} finds {verdict.kind}: {verdict.text}; "
                "repair that first"
            )


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _own_digest(*names: str) -> str:
    """Of the code that decides what comes out."""
    return tree_digest(Path(__file__).parent, names)
