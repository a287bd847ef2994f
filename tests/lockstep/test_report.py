"""Reports say what the campaign did, all of it and nothing else, and stand alone."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from toy_vault import ADAPTER, ROOT, SOURCE, VaultAdapter, VaultTwin, planted

from lockstep.adapter import Invariant
from lockstep.campaign import Plan, run_campaign
from lockstep.cli import fuzz_command
from lockstep.errors import InputError
from lockstep.report import files, report_paths, write_reports
from lockstep.report.figures import lines
from lockstep.report.files import FORMATS
from lockstep.report.page import SECTIONS, page
from lockstep.report.source import HIT, MISSED, PARTLY, UNREACHABLE, annotated, coloured
from lockstep.report.summary import campaign_summary
from lockstep.samples import MOST_MARKS, MOST_POINTS, Histogram, Mark, Measure, Series, kept
from lockstep.tally import MOST_LINES, MOST_MOMENTS, Pace, Tally

MODEL = "tests/lockstep/toy_vault.py"
TEXTS = {path: (ROOT / path).read_text() for path in (SOURCE, MODEL)}
HOSTILE = '<script>alert("&")</script>'
VOID = {"meta", "br", "hr", "img", "input", "link"}
SVG_LEAVES = {"path", "use", "rect", "circle"}


class WatchedTwin(VaultTwin):
    """Its samples and lines follow from the model, so that they can be told beforehand."""

    def samples(self) -> dict[str, list[float]]:
        return {"deposits": [len(self.model.deposits)]}

    def series(self) -> Sequence[Series]:
        points = [(float(i), float(i % 7)) for i in range(self.closed)]
        marks = [Mark(x, y, f"{HOSTILE} seven") for x, y in points if y == 6]
        return (Series(f"Closings {HOSTILE}", "number", "unit <&>", points, marks),)


def fails(twin: Any) -> str | None:
    return f"{HOSTILE} \x00\x0b" if len(twin.model.deposits) == 9 else None


class WatchedAdapter(VaultAdapter):
    name = f"vault {HOSTILE}"
    measures = {"deposits": Measure(f"Open {HOSTILE}", "of <them>", (1, 5, 20), "a look")}  # noqa: RUF012
    invariants = (
        *VaultAdapter.invariants,
        Invariant("T3", f"a sentence {HOSTILE}", lambda twin: None),
    )

    def new_twin(self, engine: Any, config: Any) -> VaultTwin:
        twin = super().new_twin(engine, config)
        twin.__class__ = WatchedTwin
        return twin


class FailingAdapter(WatchedAdapter):
    invariants = (*WatchedAdapter.invariants[:2], Invariant("T3", f"holds {HOSTILE}", fails))


def summary_of(adapter: VaultAdapter, processes: int = 1, steps: int = 9_000) -> dict[str, Any]:
    plan = Plan(adapter, steps, 3, [{}, {"first_id": 50}], length=4_500, coverage=True)
    result = run_campaign(plan, processes)
    return campaign_summary(plan, processes, result, result.divergence, 1.7e9)


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return summary_of(WatchedAdapter())


@pytest.fixture(scope="module")
def failed() -> dict[str, Any]:
    return summary_of(FailingAdapter())


@pytest.fixture(scope="module")
def pages(summary: dict[str, Any], failed: dict[str, Any]) -> list[str]:
    return [page(summary, TEXTS), page(failed, TEXTS)]


class Page(HTMLParser):
    """A page's elements, tables and text; a tag that is not closed is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, list[list[list[str]]]] = {}  # of tables of rows of cells
        self.text: list[str] = []
        self._section = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
            self.sections[self._section] = []
        elif self._section and tag == "table":
            self.sections[self._section].append([])
        elif self._section and tag == "tr":
            self.sections[self._section][-1].append([])
        elif self._section and tag in ("th", "td"):
            self.sections[self._section][-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text.append(data)
        if self._section and ("td" in self.open or "th" in self.open):
            self.sections[self._section][-1][-1][-1] += data

    def rows(self, section: str, table: int = 0) -> list[list[str]]:
        """The rows of a table below its head."""
        return self.sections[section][table][1:]


def number(text: str) -> int:
    return int(text.replace(",", "") or 0)


def run(adapter: VaultAdapter, *args: str, directory: Path) -> Result:
    command = fuzz_command(lambda values: (adapter, [{}]), about="toy", directory=str(directory))
    return CliRunner().invoke(command, list(args))


# -- the page --------------------------------------------------------------------------------------


def test_page_is_well_formed_and_has_every_section(pages: list[str]) -> None:
    for text in pages:
        shown = Page(text)
        assert list(shown.sections) == [name for name, _ in SECTIONS]
        identifiers = [attrs["id"] for _, attrs in shown.elements if "id" in attrs]
        assert len(identifiers) == len(set(identifiers))
        targets = [attrs["href"] or "" for _, attrs in shown.elements if "href" in attrs]
        assert {target[1:] for target in targets} <= set(identifiers)


def test_page_stands_alone(pages: list[str]) -> None:
    for text in pages:
        assert not re.search(r"https?:|//\w|@import|@font-face", text)
        for address in re.findall(r"url\(([^)]*)\)", text):
            assert address.startswith("#")
        shown = Page(text)
        for tag, attrs in shown.elements:
            assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base")
            assert not any(name.startswith("on") or name == "src" for name in attrs)
            assert (attrs.get("href") or "#").startswith("#")
        policies = [a["content"] for _, a in shown.elements if "http-equiv" in a]
        assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_page_escapes_whatever_it_is_told(failed: dict[str, Any]) -> None:
    hostile = json.loads(json.dumps(failed))
    hostile["actions"]["open"]["reverts"][HOSTILE] = 1
    hostile["statistics"][HOSTILE] = 2
    hostile["configs"] = [{HOSTILE: HOSTILE}]
    hostile["divergence"]["story"] = [HOSTILE]
    hostile["divergence"]["replay"] = [HOSTILE]
    hostile["timing"]["processes"][0]["worker"] = HOSTILE
    text = page(hostile, TEXTS)
    assert "<script" not in text
    shown = "".join(Page(text).text)
    assert shown.count(HOSTILE) >= 12  # among others: name, title, measure, series, marks


def test_sources_cannot_leave_their_lines(summary: dict[str, Any]) -> None:
    for path in ("a.vy", "a.py", "a.txt"):
        source = f'x: String[9] = "{HOSTILE}"\n\n# {HOSTILE}\n"""\n{HOSTILE}\n"""\n'
        coloured_lines = coloured(path, source)
        told = [re.sub(r"</?i( class=\"\w\")?>", "", line) for line in coloured_lines]
        assert len(told) == 6
        assert not any("<" in line for line in told)
        assert [line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
                .replace("&#34;", '"') for line in told] == source.splitlines()  # fmt: skip


def test_coverage_is_shown_on_every_line_of_the_source(
    pages: list[str], summary: dict[str, Any]
) -> None:
    entry = summary["coverage"]["contracts"][SOURCE]
    rows = Page(pages[0]).sections["coverage"][0]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    missed = {item["number"] for item in entry["missed"]}
    for (_, _, text), (number, line) in zip(
        rows, enumerate(TEXTS[SOURCE].splitlines(), 1), strict=True
    ):
        assert text.startswith(line) if number in missed else text == line
    assert {int(row[0]) for row in rows if row[1]} == set(entry["code"])


def test_lines_are_told_apart_by_what_is_missing() -> None:
    branch = {"column": 4, "kind": "assert", "text": "a < <b>", "path": "x.vy"}
    entry = {
        "code": [1, 2, 3, 4, 5],
        "missed": [
            {"path": "x.vy", "number": 2, "reason": ""},
            {**branch, "number": 3, "outcome": False, "reason": ""},
            {**branch, "number": 4, "outcome": True, "reason": "never <so>"},
            {"path": "x.vy", "number": 5, "reason": "no caller"},
            {**branch, "number": 5, "outcome": True, "reason": ""},
        ],
    }
    rows = annotated("x.vy", "a\nb\nc\nd\ne\nf\n", entry)
    assert [row.status for row in rows] == [HIT, MISSED, PARTLY, UNREACHABLE, PARTLY, ""]
    assert [row.notes for row in rows] == [
        [],
        [],
        ["a < <b> is never false"],
        ["a < <b> is never true: never <so>"],
        ["no caller", "a < <b> is never true"],
        [],
    ]


def test_figures_of_the_page_are_those_of_the_summary(
    pages: list[str], summary: dict[str, Any]
) -> None:
    shown = Page(pages[0])
    actions = shown.rows("actions")
    assert {row[0]: number(row[1]) for row in actions} == {
        name: entry["steps"] for name, entry in summary["actions"].items()
    }
    assert [row[:4] for row in shown.rows("actions", 1)] == [
        [name, f"{entry['steps']:,}", f"{entry['share']:.1%}", f"{entry['success_share']:.1%}"]
        for name, entry in summary["aims"].items()
    ]
    (head, *rows) = shown.sections["matrix"][0]
    names = head[1:-1]
    for row in rows:
        reason, cells, total = row[0], row[1:-1], row[-1]
        expected = [
            entry["succeeded"] if reason == "succeeds" else entry["reverts"].get(reason, 0)
            for entry in (summary["actions"][name] for name in names)
        ]
        assert [number(cell) for cell in cells] == expected
        assert number(total) == sum(expected)
    assert sum(number(row[-1]) for row in rows) == summary["steps"] == 9_000
    assert [row[::2] for row in shown.rows("invariants")] == [
        [name, f"{entry['checked']:,}"] for name, entry in summary["invariants"].items()
    ]
    assert shown.rows("counts") == [
        [name, f"{value:,}"] for name, value in summary["statistics"].items()
    ]
    bins = shown.rows("distributions")
    assert [number(row[1]) for row in bins] == summary["distributions"]["deposits"]["counts"]
    assert [row[0] for row in bins] == ["below 1", "1 to 5", "5 to 20", "20 and more"]
    chains = shown.rows("rates", 1)
    assert [(row[0], row[1], row[2], row[3], row[7]) for row in chains] == [
        (str(row["chain"]), str(row["seed"]), str(row["config"]), f"{row['steps']:,}", "agreed")
        for row in summary["each_chain"]
    ]
    assert "No divergence in 9,000 steps" in "".join(shown.text)


def test_page_can_be_read_without_seeing_it(pages: list[str], summary: dict[str, Any]) -> None:
    shown = Page(pages[0])
    tags = [tag for tag, _ in shown.elements]
    figures = [attrs for tag, attrs in shown.elements if tag == "figure"]
    assert len(figures) == 1 + len(summary["distributions"]) + len(summary["series"])
    assert all(attrs["aria-label"] for attrs in figures)
    assert tags.count("figcaption") == len(figures)
    assert all(attrs.get("scope") for tag, attrs in shown.elements if tag == "th")
    assert dict(shown.elements)["html"] == {"lang": "en"}


def test_page_tells_the_story_of_a_failure(pages: list[str], failed: dict[str, Any]) -> None:
    text = "".join(Page(pages[1]).text)
    failure = failed["divergence"]
    assert failure["kind"] == "invariant T3"
    assert "Divergence in chain 0: invariant T3" in text
    assert len(failure["story"]) == len(failure["steps"])
    for line in failure["story"]:
        assert line in text


def test_page_of_a_long_campaign_stays_small() -> None:
    plan = Plan(ADAPTER, 10, 1)
    result = run_campaign(plan)
    big = campaign_summary(plan, 1, result, None, 0.0)
    reasons = {f"a reason of its own, number {i}": 10**6 + i for i in range(80)}
    entry = {"steps": 10**8, "succeeded": 10**7, "reverts": reasons, "share": 0.1}
    big["actions"] = {f"action_{i}": {**entry, "success_share": 0.1} for i in range(42)}
    big["each_chain"] = big["each_chain"] * 5_000
    line = {"chain": 0, "title": "Price", "x_unit": "steps", "unit": "", "marked": {"a": 9_000}}
    line["points"] = [[i + 0.123456, i % 97 * 1.000001] for i in range(MOST_POINTS)]
    line["marks"] = [[i * 0.8, i % 97, "a"] for i in range(MOST_MARKS)]
    drawn = lines(line, ["a"], "s0")
    assert len(page(big, TEXTS)) + MOST_LINES * len(drawn) < 3_000_000  # sources take the rest


# -- what is sampled -------------------------------------------------------------------------------


def test_samples_and_series_are_the_same_from_one_process_and_from_two(
    summary: dict[str, Any],
) -> None:
    two = summary_of(WatchedAdapter(), 2)
    for key in ("distributions", "series", "each_chain", "actions", "invariants"):
        assert two[key] == summary[key]
    assert {row["worker"] for row in two["timing"]["chains"]} != {
        row["worker"] for row in summary["timing"]["chains"]
    }
    # At 2,000 and 4,000 steps of each chain.
    assert summary["distributions"]["deposits"]["samples"] == 4
    for line in summary["series"]:
        assert 700 < len(line["points"]) <= MOST_POINTS
        assert sum(line["marked"].values()) == len(line["marks"])


def test_thinned_series_keep_their_extremes() -> None:
    points = [(float(i), 0.0) for i in range(50_000)]
    points[31_234], points[31_235] = (31_234.0, 99.0), (31_235.0, -99.0)
    marks = [Mark(float(i), 0.0, "odd" if i % 2 else "even") for i in range(5_001)]
    line = kept(4, 50_000, Series("s", "", "", points, marks))
    assert len(line.series.points) <= MOST_POINTS
    assert {points[0], points[31_234], points[31_235], points[-1]} <= set(line.series.points)
    assert list(line.series.points) == sorted(line.series.points)
    assert len(line.series.marks) <= MOST_MARKS
    assert line.marked == {"even": 2_501, "odd": 2_500}


def test_lines_of_the_longest_chains_are_kept_in_whatever_order_they_come() -> None:
    lengths = {i: 1_000 + i % 3 for i in range(30)} | {30: 60}
    lines = [kept(i, steps, Series("s", "", "", [])) for i, steps in lengths.items()]
    forwards, backwards = Tally(ADAPTER), Tally(ADAPTER)
    forwards._add_lines(lines)
    for line in reversed(lines):
        backwards._add_lines([line])
    assert forwards.lines == backwards.lines
    chosen = [line.chain for line in forwards.lines]
    assert chosen == sorted([2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 1, 4])
    short = Tally(ADAPTER)
    short._add_lines([lines[30], lines[0]])
    assert [line.chain for line in short.lines] == [0]


def test_bins_hold_their_lower_edge_and_what_is_outside() -> None:
    measure = Measure("m", "", (0, 1, 10))
    one, other = Histogram(measure), Histogram(measure)
    one.add([-5, -0.001, 0, 0.999, 1])
    other.add([9.99, 10, 10**9])
    one.merge(other)
    assert one.counts == [2, 2, 2, 2]
    assert (one.least, one.greatest) == (-5, 10**9)
    one.add([float("inf")])
    assert one.counts == [2, 2, 2, 3]
    assert json.dumps(one.summary(), allow_nan=False)


def test_pace_is_bounded_and_ends_with_the_last_step() -> None:
    pace = Pace()
    pace._apart = 1e-9
    for _ in range(20 * MOST_MOMENTS):
        pace.tick(3)
    told = pace.end()
    assert len(told) <= MOST_MOMENTS + 2
    assert told == sorted(told)
    assert told[-1][1] == 60 * MOST_MOMENTS


def test_steps_of_a_failing_batch_are_counted(failed: dict[str, Any]) -> None:
    assert failed["steps"] == len(failed["divergence"]["steps"]) > 0
    assert [chain["steps"] for chain in failed["each_chain"]] == [failed["steps"]]


# -- JUnit and JSON --------------------------------------------------------------------------------


def cases(text: str) -> dict[str, list[ElementTree.Element]]:
    root = ElementTree.fromstring(text)
    suites = {suite.attrib["name"].rpartition(".")[2]: suite for suite in root}
    found = {name: suite.findall("testcase") for name, suite in suites.items()}
    for kind in ("failure", "skipped"):
        for name, suite in suites.items():
            count = sum(case.find(kind) is not None for case in found[name])
            attribute = "failures" if kind == "failure" else kind
            assert int(suite.attrib[attribute]) == count
    for name, suite in suites.items():
        assert int(suite.attrib["tests"]) == len(found[name])
    assert int(root.attrib["tests"]) == sum(map(len, found.values()))
    assert int(root.attrib["failures"]) == sum(int(s.attrib["failures"]) for s in suites.values())
    return found


def test_junit_has_a_case_for_everything(summary: dict[str, Any]) -> None:
    found = cases(FORMATS[".xml"](summary, {}))
    assert {name: len(items) for name, items in found.items()} == {
        "agreement": 1, "chains": 2, "invariants": 3,
    }  # fmt: skip
    assert not any(case.find("failure") is not None for items in found.values() for case in items)


def test_junit_failure_carries_text_and_story(failed: dict[str, Any]) -> None:
    found = cases(FORMATS[".xml"](failed, {}))  # it parses, whatever characters the text has
    broken = [
        case for items in found.values() for case in items if case.find("failure") is not None
    ]
    assert [case.attrib["name"][:2] for case in broken] == ["ch", "T3"]
    for case in broken:
        failure = case.find("failure")
        assert failure is not None
        assert failure.attrib["type"] == "invariant T3"
        assert HOSTILE in failure.attrib["message"]
        for line in failed["divergence"]["story"]:
            assert re.sub("[\x00\x0b]", "\ufffd", line) in (failure.text or "")
    other = json.loads(json.dumps(failed))
    other["divergence"] |= {"invariant": None, "kind": "storage"}
    names = [
        name
        for name, items in cases(FORMATS[".xml"](other, {})).items()
        if any(case.find("failure") is not None for case in items)
    ]
    assert names == ["agreement", "chains"]


def test_json_is_the_summary_and_every_key_is_documented(summary: dict[str, Any]) -> None:
    assert json.loads(FORMATS[".json"](summary, {})) == json.loads(json.dumps(summary))
    text = (ROOT / "docs" / "reports.md").read_text()
    documented = {
        key
        for row in re.findall(r"^\| (`.*?) \|", text, re.M)
        for key in re.findall(r"`(\w+)`", row)
    }
    assert set(summary) == documented


# -- paths, Ctrl-C, divergence ---------------------------------------------------------------------


def ended(folder: Path) -> dict[str, Any]:
    """The figures of a campaign's three reports, which are all there, whole and in agreement."""
    assert sorted(path.name for path in folder.iterdir()) == ["r.html", "r.json", "r.xml"]
    figures: dict[str, Any] = json.loads((folder / "r.json").read_text())
    assert f">{figures['steps']:,}<" in (folder / "r.html").read_text()
    Page((folder / "r.html").read_text())
    assert len(cases((folder / "r.xml").read_text())["chains"]) == figures["chains"]
    return figures


def reports_in(folder: Path) -> list[str]:
    folder.mkdir()
    return ["--report", f"{folder}/r.html,{folder}/r.xml", "--report", f"{folder}/r.json"]


def test_several_reports_of_one_campaign(tmp_path: Path) -> None:
    told = reports_in(tmp_path / "out")
    result = run(ADAPTER, "--steps", "300", *told, directory=tmp_path / "regressions")
    assert result.exit_code == 0, result.output
    assert ended(tmp_path / "out")["verdict"] == "agreement"


def test_a_divergence_is_reported_with_its_story(tmp_path: Path) -> None:
    buggy = planted("rate + 9_999)", "rate)")
    told = reports_in(tmp_path / "out")
    result = run(buggy, "--steps", "3000", *told, directory=tmp_path / "regressions")
    assert result.exit_code == 1, result.output
    failure = ended(tmp_path / "out")["divergence"]
    assert failure["minimal"] is True
    assert len(failure["story"]) == len(failure["steps"]) == 2
    for name in ("r.html", "r.xml"):
        text = (tmp_path / "out" / name).read_text()
        assert failure["story"][0] in text
        assert failure["regression"] in text
        assert failure["case"] in text


def test_ctrl_c_leaves_every_report(tmp_path: Path) -> None:
    class Interrupted(VaultAdapter):
        drawn = 0

        def generate(self, twin: Any, rng: Any) -> Any:
            self.drawn += 1
            if self.drawn > 1_500:
                raise KeyboardInterrupt
            return super().generate(twin, rng)

    told = reports_in(tmp_path / "out")
    args = ["--steps", "100000", "--length", "1000", "--processes", "1", *told]
    result = run(Interrupted(), *args, directory=tmp_path / "regressions")
    assert result.exit_code == 130, result.output
    figures = ended(tmp_path / "out")
    assert figures["verdict"] == "interrupted"
    assert 1_000 <= figures["steps"] <= 1_500
    assert [chain["outcome"] for chain in figures["each_chain"]] == ["agreed", "stopped"]


def never(twin: Any, rng: Any) -> Any:
    raise AssertionError("the campaign has started")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("folder", "folder: is a directory; name a file in it"),
        ("folder.html", "folder.html: is a directory; name a file in it"),
        ("gone/r.html", "no directory gone; create it or choose another path"),
        ("file/r.html", "no directory file; create it or choose another path"),
        ("r.pdf", "r.pdf: .pdf suffix; end it in .html (a page), .xml (JUnit) or .json"),
        ("r", "r: no suffix; end it in .html (a page), .xml (JUnit) or .json"),
        ("r.html,", "a path is empty; write a.html,b.xml"),
        ("r.html,folder", "folder: is a directory"),
    ],
)
def test_bad_paths_are_refused_before_the_campaign(
    path: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(VaultAdapter, "generate", never)
    for folder in ("folder", "folder.html"):
        Path(folder).mkdir()
    Path("file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    result = run(ADAPTER, "--report", path, directory=tmp_path / "regressions")
    assert result.exit_code == 2, result.output
    assert result.output.startswith("error: report ")
    assert says in result.output
    assert result.output.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_list_of_reasons_that_cannot_be_read_is_told_before_the_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "unreachable.toml"
    listed.write_text("[[unreachable]\n")
    monkeypatch.setattr(VaultAdapter, "unreachable", listed, raising=False)
    monkeypatch.setattr(VaultAdapter, "generate", never)
    result = run(ADAPTER, directory=tmp_path / "regressions")
    assert result.exit_code == 2, result.output
    assert result.output.startswith(f"error: {listed}: ")


def test_the_same_path_twice_is_one_report(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    assert report_paths([f"{path}, {path}", str(path)]) == [path]


def test_one_report_that_cannot_be_written_does_not_cost_the_others(
    tmp_path: Path, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write_whole

    def full(path: Path, content: str) -> None:
        if path.suffix == ".html":
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "write_whole", full)
    paths = [tmp_path / "r.html", tmp_path / "r.json"]
    with pytest.raises(InputError, match=r"r\.html: no space left on device; make room"):
        write_reports(paths, summary, TEXTS)
    assert json.loads((tmp_path / "r.json").read_text())["steps"] == 9_000


def test_a_campaign_without_a_page_does_not_load_the_plotter(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n"
        "import lockstep.cli\n"
        "assert not {'matplotlib', 'jinja2', 'pygments.lexers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
