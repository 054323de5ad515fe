"""An instruction is searched on the half of dev it may see, and every trial is a trace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from stm_agent.backbone.instruction import Instruction, checked
from stm_agent.cli.traces import app
from stm_agent.domain.collection import Split
from stm_agent.domain.spec import InstructSpec
from stm_agent.errors import BudgetExceeded, ConfigError, StorageError
from stm_agent.evaluate.cache import EmbeddingCache
from stm_agent.files import read_jsonl
from stm_agent.instruct.baselines import instructed
from stm_agent.instruct.search import SearchResult, search_instruction
from stm_agent.llm.budget import Budget
from stm_agent.llm.scripted import scripted
from stm_agent.traces import exported, read_traces, word_diff

COUNT = 80
DOCUMENTS = {f"d{number}": f"passage {number}" for number in range(COUNT)}
DEV = Split(
    "dev",
    {f"q{number}": f"question {number}" for number in range(COUNT)},
    {f"q{number}": {f"d{number}": 1} for number in range(COUNT)},
)
GOOD, BAD = "Find the passage", "Write a poem"


class Obedient:
    """Finds the passage of a query exactly when the instruction says one of ``words``; else looks elsewhere."""

    dimension = COUNT + 1

    def __init__(self, words: Sequence[str] = ("Find",), only: frozenset[str] | None = None) -> None:
        self.words, self.only = words, only
        self.identity = f"obedient {words} {sorted(only or ())}"

    def room(self, prefix: str) -> int | None:
        return None

    def encode(self, texts: Sequence[str], *, prefix: str = "") -> np.ndarray:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        helped = any(word in prefix for word in self.words)
        for row, text in enumerate(texts):
            kind, number = text.split()
            lost = kind == "question" and not (helped and (self.only is None or number in self.only))
            vectors[row, COUNT if lost else int(number)] = 1
        return vectors


def search(
    tmp_path: Path,
    encoder: Obedient,
    answers: Sequence[str] = (),
    budget: Budget | None = None,
    spec: InstructSpec | None = None,
) -> SearchResult:
    return search_instruction(
        encoder=encoder,
        cache=EmbeddingCache(tmp_path / "vectors"),
        searching=DEV,
        documents=DOCUMENTS,
        seeds=[Instruction(BAD, "", "seed:poem"), Instruction(GOOD, "", "seed:find")] if not answers else [],
        incumbent=Instruction(),
        reflection=scripted(answers, tmp_path, usd=0.01, budget=budget) if answers else None,
        spec=spec or InstructSpec(reflections=len(answers)),
        trace=tmp_path / "traces.jsonl",
        seed=0,
        task="a question -> its passage",
    )


def test_a_better_seed_wins(tmp_path):
    found = search(tmp_path, Obedient())
    assert (found.winner.query, found.winner.origin) == (GOOD, "seed:find")
    assert found.tried == 3
    assert found.trial == "i0003"


def test_an_answer_that_cannot_be_stored_ends_the_search_before_more_is_paid(tmp_path):
    (tmp_path / "llm").write_text("a file where the folder of answers should be")
    with pytest.raises(StorageError, match="llm"):
        search(tmp_path, Obedient(), [f"Find passage number {number}" for number in range(4)])
    assert not read_jsonl(tmp_path / "llm.jsonl")


def test_of_equal_instructions_none_is_the_shortest(tmp_path):
    found = search(tmp_path, Obedient(words=("nothing",)))
    assert found.winner == Instruction()


def test_no_instruction_is_a_candidate_when_there_is_an_incumbent(tmp_path):
    found = search_instruction(
        encoder=Obedient(words=("nothing",)),
        cache=EmbeddingCache(tmp_path / "vectors"),
        searching=DEV,
        documents=DOCUMENTS,
        seeds=[],
        incumbent=Instruction(BAD, "", "seed:poem"),
        reflection=None,
        spec=InstructSpec(reflections=0),
        trace=tmp_path / "traces.jsonl",
        seed=0,
        task="a question -> its passage",
    )
    assert found.winner.texts == ("", "")
    assert found.incumbent.query == BAD


def test_reflections_are_checked_tried_and_traced(tmp_path):
    answers = ["", "x" * 500, '"Find what answers"\nBecause it is short.']
    found = search(tmp_path, Obedient(), answers)
    assert (found.winner.query, found.winner.origin) == ("Find what answers", "reflection")
    assert found.rejected == {"empty": 1}
    long, good = read_traces(tmp_path / "traces.jsonl")[1:]
    assert "500 characters" in long["reason"]
    assert good["parent"] == "i0001"
    assert "question" in good["messages"][-1]["content"], "the reflecting LLM sees failed searches"
    assert good["usd"] == 0.01
    told = json.loads(exported(good, plain=False))
    assert [message["role"] for message in told["written_by"]] == ["system", "user", "assistant"]
    assert told["messages"][0]["content"] == "Find what answers"
    assert "[instruction]\nFind what answers\n" in exported(good, plain=True)
    assert [example["wanted"].split()[0] for example in good["shown"]] == ["passage"] * 3
    assert all(example["why"].startswith("the wanted passage was") for example in good["shown"])
    assert good["seconds"] > 0


def test_a_pool_of_generic_instructions_is_tried_and_what_is_no_instruction_refused(tmp_path):
    answers = ["1. Find what answers\n2. Find what answers\n\n- Write a poem", "x" * 500, *["Write a poem"] * 2]
    pool = InstructSpec(reflections=0, pool=10)
    found = search(tmp_path, Obedient(), answers, spec=pool)
    assert (found.winner.query, found.winner.origin) == ("Find what answers", "pool")
    traces = read_traces(tmp_path / "traces.jsonl")
    assert [trace["text"] for trace in traces if trace["mean"] is not None] == ["", "Find what answers", "Write a poem"]
    assert [trace["reason"].split(": ")[1] for trace in traces if trace["mean"] is None][:2] == [
        "repeats a candidate that was tried",
        "an instruction has 500 characters, 400 are allowed",
    ]
    # Three answers in a row with nothing new end it: the fifth is never asked for.
    budget = Budget(usd=0.0)
    assert search(tmp_path, Obedient(), answers, budget, spec=pool) == found


def test_the_same_search_again_pays_and_writes_nothing(tmp_path):
    first = search(tmp_path, Obedient(), ["Find it"])
    written = (tmp_path / "traces.jsonl").read_bytes()
    budget = Budget(usd=0.0)
    assert search(tmp_path, Obedient(), ["Find it"], budget) == first
    assert (tmp_path / "traces.jsonl").read_bytes() == written


def test_a_spent_budget_is_an_error_of_the_search(tmp_path):
    with pytest.raises(BudgetExceeded):
        search(tmp_path, Obedient(), ["Find it", "Find more"], Budget(calls=0))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (" ", "empty"),
        ("a\nb", "line break"),
        ("x" * 10_000, "10000 characters"),
        ("a\udcffb", "not UTF-8"),
    ],
)
def test_unusable_instructions_are_named(text, fault):
    with pytest.raises(ConfigError, match=fault):
        checked(text)


def test_word_diff_shows_what_changed():
    assert word_diff("find the passage", "find a clinical passage") == [
        (" ", "find"),
        ("-", "the"),
        ("+", "a clinical"),
        (" ", "passage"),
    ]


def test_traces_are_listed_shown_and_compared(tmp_path):
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (tmp_path / "programs").mkdir()
    (run / "run.json").write_text("{}")
    search(tmp_path, Obedient())
    (tmp_path / "traces.jsonl").rename(run / "traces.jsonl")

    def call(*words: str) -> object:
        result = CliRunner().invoke(app, [*words, "--workspace", str(tmp_path), "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    assert [row["text"] for row in call("list", "last")] == ["", BAD, GOOD]
    assert call("show", "mine", "i0003")["full"] == 1.0
    difference = call("diff", "mine", "i0003")
    assert difference["from"] == "i0001"
    assert min(difference["changes"].values()) > 0

    def depth(rows: list[dict]) -> dict[str, int]:
        return {row["trial"]: 0 for row in rows} | {
            name: below + 1 for row in rows for name, below in depth(row["children"]).items()
        }

    assert set(depth(call("tree", "mine"))) == {"i0001", "i0002", "i0003"}
    assert call("path", "mine") == {"path": str(run / "traces.jsonl")}
    written = tmp_path / "prompt.json"
    place = ["--workspace", str(tmp_path)]
    assert CliRunner().invoke(app, ["export", "mine", "i0003", "--output", str(written), *place]).exit_code == 0
    told = json.loads(written.read_text())
    assert told["text"] == GOOD
    assert told["written_by"] == [], "a seed was written by no LLM"
    assert told["messages"][0] == {"role": "system", "content": GOOD}
    assert told["encoded"] == f"{GOOD}\nQuery: {told['messages'][1]['content']}"
    plain = CliRunner().invoke(app, ["export", "mine", "i0003", "--plain", *place]).output
    assert plain.startswith(f"[instruction]\n{GOOD}\n\n[encoded]\n{GOOD}\nQuery: question")
    assert CliRunner().invoke(app, ["export", "mine", "i0003", "--program", *place]).exit_code == 1
    state = tmp_path / "program.json"
    CliRunner().invoke(app, ["export", "mine", "i0003", "--program", "--output", str(state), *place])
    loaded = instructed("another one")
    loaded.load(str(state))
    assert loaded.search.signature.instructions == GOOD
    shown = CliRunner().invoke(app, ["diff", "mine", "i0003", *place]).output
    assert "queries won, 0 lost" in shown
    assert "i0003: passage" in shown, "what a query found first is named by its text"
    assert "question" in CliRunner().invoke(app, ["show", "mine", "i0002", *place]).output
    again = CliRunner().invoke(app, ["export", "mine", "i0003", "--output", str(written), *place])
    assert "nothing is overwritten" in str(again.exception)
