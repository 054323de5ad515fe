"""``optimize --corpus``: written queries are paid once, and a run on them calls its numbers synthetic everywhere."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from unittest import mock

import pytest

from stm_agent.cli.main import main
from stm_agent.domain.build import build_domain_data
from stm_agent.domain.load import domain_of_collection
from stm_agent.domain.spec import SENTENCES, BeirCollection
from stm_agent.errors import DataError, GenerationError
from stm_agent.files import read_json, sha256_text
from stm_agent.inspect.report import report_table
from stm_agent.inspect.runs import list_runs
from stm_agent.llm.scripted import ScriptedProvider
from stm_agent.loop.corpus import write_collection
from stm_agent.loop.corpus_plan import plan_corpus
from stm_agent.loop.events import silent
from stm_agent.loop.optimize import optimize
from stm_agent.loop.options import Options
from stm_agent.loop.recipes import plan_experts
from stm_agent.loop.run_plan import Speed
from stm_agent.testing.pdf import pdf

PLACES = ("ear", "eye", "foot", "hand", "heart", "knee", "lung", "nose", "skin", "tooth")
SIGNS = ("sore", "swollen", "weak", "itchy", "cold", "small")


@pytest.fixture
def corpus(tmp_path):
    """Sixty documents of one passage."""
    folder = tmp_path / "clinic"
    folder.mkdir()
    for place in PLACES:
        for sign in SIGNS:
            text = f"Finding: the {place} is {sign}.\n\nThe {place} of many people is so, and most got well again."
            (folder / f"{sign}-{place}.txt").write_text(text)
    return folder


class Clinic(ScriptedProvider):
    """Asks about the finding of the passage; a number of calls in, it can lose its connection."""

    made: list[Clinic]
    fails_after: int | None = None

    def __init__(self) -> None:
        super().__init__(self._ask)
        self.made.append(self)

    def _ask(self, messages):
        if self.fails_after is not None and self.calls > self.fails_after:
            raise GenerationError("the clinic cannot be reached")
        place, sign = re.findall(r"Finding: the (\w+) is (\w+)\.", messages[-1]["content"])[-1]
        return f"what helps a {sign} {place}"


@pytest.fixture
def clinic(monkeypatch):
    monkeypatch.setattr(Clinic, "made", [], raising=False)
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: Clinic()))
    return Clinic


def write(corpus, workspace, observer=silent, queries=500, **flags):
    options = Options(**{"generator": "scripted:clinic", **flags})
    return write_collection(
        corpus, options, queries=queries, workspace=workspace, runs=workspace / "runs", observer=observer
    )


def calls(clinic):
    return sum(provider.calls for provider in clinic.made)


def test_written_queries_are_paid_once(corpus, workspace, clinic):
    events = []
    first = write(corpus, workspace, events.append)
    assert calls(clinic) == 60
    assert write(corpus, workspace).folder == first.folder
    assert calls(clinic) == 60
    assert re.fullmatch(r"clinic-synthetic-[0-9a-f]{8}", first.folder.name)
    about = read_json(first.folder / "written.json")
    assert (about["asked"], about["queries"]) == (60, {"train": 24, "dev": 18, "test": 18})
    assert about["bm25_finds"] == 1.0
    texts = "\n".join(event["text"] for event in events)
    assert "some of them: what helps a " in texts
    assert "60 documents of clinic, cut at sentence ends into 60 passages" in texts
    assert f"stm-agent annotate --collection {first.folder} --split dev" in texts


def test_what_was_written_before_the_llm_went_away_is_used(corpus, workspace, clinic, monkeypatch):
    monkeypatch.setattr(clinic, "fails_after", 40)
    events = []
    part = write(corpus, workspace, events.append)
    assert sum(read_json(part.folder / "written.json")["queries"].values()) == 40
    (warning,) = [event["text"] for event in events if "what was written until then" in event["text"]]
    assert "cannot be reached" in warning
    monkeypatch.setattr(clinic, "fails_after", None)
    whole = write(corpus, workspace)
    assert sum(read_json(whole.folder / "written.json")["queries"].values()) == 60
    assert whole.folder != part.folder


def test_too_few_queries_because_the_llm_went_away_name_that_and_not_the_generator(
    corpus, workspace, clinic, monkeypatch
):
    monkeypatch.setattr(clinic, "fails_after", 10)
    with pytest.raises(DataError, match=r"10 usable queries .* \(left out: 50 not asked\); .*cannot be reached"):
        write(corpus, workspace)


def test_ceilings_are_of_writing_and_run_together(corpus, workspace, clinic):
    written = write(corpus, workspace, budget_usd=1.0, budget_minutes=10.0, price_in=10.0, price_out=10.0)
    left = written.remaining(Options(budget_usd=1.0, budget_minutes=10.0))
    assert left.budget_usd == pytest.approx(1.0 - written.usd)
    assert 9.0 < left.budget_minutes <= 10.0
    assert written.remaining(Options()) == Options(budget_minutes=30.0 - written.minutes), "as a folder without minutes"


def test_calls_and_width_hold_while_queries_are_written(corpus, workspace, clinic, monkeypatch):
    in_flight, most = 0, 0
    lock, ask = threading.Lock(), clinic._ask

    def slow(self, messages):
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        time.sleep(0.01)
        with lock:
            in_flight -= 1
        return ask(self, messages)

    monkeypatch.setattr(clinic, "_ask", slow)
    written = write(corpus, workspace, budget_calls=50, parallel=2)
    assert calls(clinic) == written.calls == 50
    assert most <= 2
    assert written.remaining(Options(budget_calls=70)).budget_calls == 20
    assert written.remaining(Options(budget_calls=5)).budget_calls == 0


def test_a_generator_that_always_says_the_same_is_refused_with_the_way_on(corpus, workspace):
    options = Options(generator="scripted:numbered")
    with pytest.raises(DataError, match=r"usable queries were written for corpus clinic.*name a stronger --generator"):
        write_collection(corpus, options, queries=60, workspace=workspace, runs=workspace / "runs", observer=silent)
    assert not (workspace / "runs" / "corpora").exists()


def copying(share):
    """Return a script that copies a share of the passages and asks about the others."""

    def ask(messages):
        place, sign = re.findall(r"Finding: the (\w+) is (\w+)\.", messages[-1]["content"])[-1]
        number = PLACES.index(place) * len(SIGNS) + SIGNS.index(sign)
        return f"Finding: the {place} is {sign}" if number % 10 < 10 * share else f"what helps a {sign} {place}"

    return ask


def test_copied_queries_are_shown_counted_and_kept_out_of_dev_and_test(corpus, workspace, monkeypatch):
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: ScriptedProvider(copying(0.5))))
    events = []
    folder = write(corpus, workspace, events.append).folder
    (warning,) = [event for event in events if "copied from their passage" in event["text"]]
    assert warning["kind"] == "warning"
    assert warning["text"].startswith("30 of the 60 queries are copied from their passage; they only train")
    assert read_json(folder / "written.json")["copied"] == 30
    assert read_json(folder / "written.json")["queries"] == {"train": 30, "dev": 15, "test": 15}
    splits = build_domain_data(BeirCollection(path=folder), workspace).collection.splits
    for name in ("dev", "test"):
        assert not [query for query in splits[name].queries.values() if query.startswith("Finding")]


def test_a_generator_that_copies_every_passage_is_refused_with_the_way_on(corpus, workspace, monkeypatch):
    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: ScriptedProvider(copying(1))))
    with pytest.raises(DataError, match=r"0 usable queries .* \(left out: 60 copied from .* name a stronger"):
        write(corpus, workspace)
    assert not (workspace / "runs" / "corpora").exists()


def test_a_model_that_keeps_no_typed_format_writes_a_collection(corpus, workspace, clinic):
    """Its name names no size; the script answers without any format."""
    events = []
    flags = {"generator": "hosted_vllm/my-model", "api_base": "http://127.0.0.1:9/v1"}
    with mock.patch("stm_agent.llm.open._provider", lambda *arguments: Clinic()):
        folder = write(corpus, workspace, events.append, **flags).folder
        assert sum(read_json(folder / "written.json")["queries"].values()) == 60
        (warning,) = [event["text"] for event in events if "kept no format" in event["text"]]
        assert warning.endswith("8 answers kept no format, so that the plain program wrote (--structured never)")
        before = calls(clinic)
        write(corpus, workspace, structured="never", **flags)
        assert calls(clinic) == before + 60, "one text in a call, and no attempt at typed outputs"


def test_a_generator_whose_texts_have_nothing_to_do_with_their_passages_is_refused(corpus, workspace, monkeypatch):
    def babble(messages):
        digest = sha256_text(messages[-1]["content"])
        return f"sailing {digest[:6]} harbour {digest[6:12]} boats {digest[12:18]}"

    monkeypatch.setattr(ScriptedProvider, "named", classmethod(lambda cls, name: ScriptedProvider(babble)))
    with pytest.raises(DataError, match=r"BM25 finds the passage of 0% of the queries .* name a stronger --generator"):
        write(corpus, workspace)
    assert not (workspace / "runs" / "corpora").exists()


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("proof_in_this_process")
def test_a_run_calls_its_numbers_synthetic_everywhere(corpus, workspace, clinic, tiny_domain):
    written = write(corpus, workspace)
    spec = tiny_domain.model_copy(
        update={
            "name": written.folder.name,
            "collection": BeirCollection(path=written.folder),
            "general": (),
            "experts": (tiny_domain.experts[0].model_copy(update={"steps": 4}),),
            "instruct": tiny_domain.instruct.model_copy(update={"reflections": 0}),
            "loop": tiny_domain.loop.model_copy(update={"probe_steps": 0}),
        }
    )
    runs = workspace / "runs"
    report = optimize(spec, Options(generator="scripted:clinic"), workspace=workspace, runs=runs)
    assert report["collection"]["synthetic"] == ["dev", "test"]
    assert any(text.startswith("collection: the queries of dev and test are synthetic") for text in report["warnings"])
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report_table(report))
    shown = console.export_text()
    for part in (": synthetic test nDCG@10, 18 queries", "on synthetic queries", "synthetic dev queries to search"):
        assert part in shown
    assert "queries written by scripted:clinic, judged by nobody" in shown
    card = (runs / report["run"] / "model" / "README.md").read_text()
    assert re.search(r"nDCG@10 on the \d+ dev queries .* passages, which are synthetic: 0\.", card)
    assert re.search(r"The queries of (dev|train|test) and \w+ and \w+ are synthetic: an LLM wrote", card)
    files = {path.name for path in (runs / report["run"] / "dev").rglob("*")}
    assert {"queries.synthetic.jsonl", "dev.synthetic.tsv"} <= files
    assert "queries.jsonl" not in files
    (row,) = list_runs(runs)
    assert row["synthetic"]
    assert "-synthetic-" in row["run"]


def test_experts_of_few_written_queries_learn_from_sentences_too_and_have_no_more_written(corpus, workspace, clinic):
    folder = write(corpus, workspace).folder
    data = build_domain_data(BeirCollection(path=folder), workspace)
    planned, _ = plan_experts(
        domain_of_collection(folder), data, minutes=30, speed=Speed(passages=1000.0, queries=5000.0)
    )
    assert {expert.sources for expert in planned.experts} == {("train", SENTENCES)}


@pytest.fixture
def command(monkeypatch, capsys, workspace):
    def call(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["stm-agent", "optimize", *map(str, words), "--workspace", str(workspace)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        assert (stop.value.code or 0) == code, output.err
        return output.out if code == 0 else output.err

    return call


def test_a_dry_run_tells_passages_calls_and_costs_and_asks_nothing(corpus, command, clinic, workspace):
    shown = command(
        *("--corpus", corpus, "--generator", "scripted:clinic", "--price-in", 1, "--price-out", 2),
        *("--corpus-queries", 30, "--dry-run"),
    )
    assert "60 passages of at most about 128 tokens; queries for 30 of them" in shown
    assert re.search(r"30 LLM calls by scripted:clinic .* 60 if no first .*at most about 0\.0\d USD", shown)
    assert "40% train, 30% dev, 30% test by document" in shown
    assert "writing and run take at most 30 minutes together" in shown
    assert not clinic.made
    assert [path.name for path in (workspace / "runs").iterdir()] == ["README.md"], "nothing was written"


def test_a_pdf_of_200_pages_is_a_corpus(tmp_path):
    page = "\n".join(f"On page {{0}} line {number} says what tea needs." for number in range(12))
    (tmp_path / "book.pdf").write_bytes(pdf([page.format(number) for number in range(200)]))
    plan = plan_corpus(tmp_path / "book.pdf", queries=100)
    assert len(plan.drawn) == 100
    assert len({plan.passages.part_of[key] for key in plan.drawn}) > 20, "queries are spread over the book"


def test_the_flag_about_typed_outputs_is_part_of_what_a_run_does(corpus, command, tiny_domain):
    asked = Options(structured="never").with_structured(tiny_domain)
    assert asked.synthesize.structured == "never"
    assert asked.model_copy(update={"synthesize": tiny_domain.synthesize}) == tiny_domain
    assert Options().with_structured(tiny_domain) is tiny_domain
    refused = command("--corpus", corpus, "--structured", "sometimes", code=2)
    assert "--structured sometimes does not exist; use auto, always, never" in refused


def test_flags_that_contradict_each_other_and_corpora_that_are_too_small_are_refused(corpus, command):
    assert "or --corpus PATH if there are no queries; one of them" in command(
        "--corpus", corpus, "--collection", corpus, code=2
    )
    assert "corpus sore-ear.txt gives 1 passages for queries from 1 document(s)" in command(
        "--corpus", corpus / "sore-ear.txt", code=2
    )
