"""DSPy programs through a scripted model: written, cleaned, checked, refused with a reason, stored."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stm_agent.domain.data import Pair
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.errors import AnswerRejected, ConfigError, GenerationError
from stm_agent.files import read_json
from stm_agent.llm.answer import BAD_REQUEST, FILTERED, Answer, Messages
from stm_agent.llm.budget import Budget
from stm_agent.llm.client import LlmClient
from stm_agent.llm.facts import ModelFacts
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.scripted import scripted
from stm_agent.mine.store import load_negatives
from stm_agent.synthesize.negatives import WrittenNegatives, synthesize_negatives
from stm_agent.synthesize.queries import WrittenQueries, load_pairs, write_queries
from stm_agent.synthesize.report import FailureLimit

PROGRAMS = Path(__file__).parents[2] / "programs"
PAIRS = [
    Pair(str(n), f"query {n} about knees", f"the passage on knees with the number {n}", "s", str(n)) for n in range(12)
]
FOLDER = "out"


def negatives(client: LlmClient, folder: Path, pairs: list[Pair], program: Path | None = None) -> WrittenNegatives:
    return synthesize_negatives(
        pairs,
        {},
        task="t",
        program=program or PROGRAMS / "hard_negatives.py",
        client=client,
        spec=SynthesizeSpec(attempts=1),
        folder=folder / FOLDER,
    )


def queries(client: LlmClient, folder: Path, pool: dict[str, str], program: Path | None = None) -> WrittenQueries:
    (folder / FOLDER).mkdir(exist_ok=True)
    return write_queries(
        pool,
        task="t",
        program=program or PROGRAMS / "queries.py",
        client=client,
        spec=SynthesizeSpec(queries=len(pool), attempts=1),
        seed=0,
        folder=folder / FOLDER,
    )


def own_program(folder: Path, text: str) -> Path:
    path = folder / "own.py"
    path.write_text(f"import dspy\n\n\n{text}")
    return path


def _numbered(messages: Messages) -> str:
    return f"a text on elbows with the number {sum(map(ord, messages[-1]['content']))}"


def about(n: int) -> Callable[[Messages], bool]:
    return lambda messages: f"number {n}" in messages[-1]["content"]


def test_negatives_are_written_with_provenance_and_counted_by_reason(tmp_path: Path) -> None:
    answers = [
        "Hard negative: a text on elbows",
        "The passage on knees with the number 1",
        " ",
        "I'm sorry, but I can't help with that.",
        Answer("a text on elbows that has no", 9, 64, 0.0, finish_reason="length"),
        "<think>only thoughts",
        "肘关节是上肢的重要关节之一。",
    ]
    done = negatives(scripted(answers, tmp_path), tmp_path, PAIRS[:7])
    assert [negative.text for row in done.negatives.values() for negative in row] == ["a text on elbows"]
    reasons = {"repeats its input": 1, "empty": 2, "refusal": 1, "cut off": 1, "another language": 1}
    assert done.report.refused == reasons
    assert (done.report.asked, done.report.written, done.ended_by) == (7, 1, None)
    stored = read_json(tmp_path / FOLDER / "written.json")
    assert (stored["asked"], stored["written"], stored["refused"]) == (7, 1, reasons)
    (negative,) = load_negatives(tmp_path / FOLDER)["0"]
    assert dict(negative.provenance)["generator"] == "scripted:test"


def test_a_passage_of_several_paragraphs_becomes_a_negative_whole(tmp_path: Path) -> None:
    passage = "Here is a hard negative passage:\n\nElbows bend in one direction.\n\nWrists bend in two."
    done = negatives(scripted([passage], tmp_path), tmp_path, PAIRS[:1])
    assert done.negatives["0"][0].text == "Elbows bend in one direction.\n\nWrists bend in two."


def test_queries_are_written_for_drawn_passages(tmp_path: Path) -> None:
    pool = {str(n): f"definition of thing number {n}" for n in range(4)}
    done = queries(scripted(lambda messages: f"find {messages[-1]['content'].split()[-1]}", tmp_path), tmp_path, pool)
    assert len(done.pairs) == done.report.written == 4
    assert load_pairs(tmp_path / FOLDER) == done.pairs
    assert all(pool[pair.group] == pair.positive for pair in done.pairs)


@pytest.mark.parametrize(
    ("passage", "query"),
    [
        ("痛风是一种关节疾病，由尿酸引起。", "痛风原因"),
        ("Gout is a disease of the joints.", "gout"),
        ("โรคเกาต์เป็นโรคข้อ", "เกาต์"),
    ],
)
def test_queries_of_one_word_and_without_spaces_are_written(tmp_path: Path, passage: str, query: str) -> None:
    (pair,) = queries(scripted([query], tmp_path), tmp_path, {"d": passage}).pairs
    assert pair.query == query


def test_a_copied_negative_without_spaces_is_refused(tmp_path: Path) -> None:
    pair = Pair("1", "痛风是什么", "痛风是一种关节疾病，由尿酸引起。", "s", "1")
    done = negatives(scripted(["痛风是一种关节疾病，由尿酸引起"], tmp_path), tmp_path, [pair])
    assert done.report.refused == {"repeats its input": 1}


def test_one_passage_that_the_provider_refuses_costs_that_passage(tmp_path: Path) -> None:
    def script(messages: Messages) -> str:
        if about(5)(messages):
            raise AnswerRejected("filtered", FILTERED)
        return _numbered(messages)

    done = negatives(scripted(script, tmp_path), tmp_path, PAIRS)
    assert (len(done.negatives), done.report.refused, done.ended_by) == (11, {"content filter": 1}, None)


def test_many_refusals_in_a_row_end_the_stage_with_the_reason(tmp_path: Path) -> None:
    def script(messages: Messages) -> str:
        if about(0)(messages):
            return "a text on elbows and other joints"
        raise AnswerRejected("m refused the request: no such parameter", BAD_REQUEST)

    done = negatives(scripted(script, tmp_path), tmp_path, PAIRS)
    assert done.report.asked == 9, "one answer, then eight rejections"
    assert done.ended_by == "8 requests in a row were rejected, the last: m refused the request: no such parameter"
    assert set(done.negatives) == {"0"}


def test_a_generator_that_never_works_ends_the_stage_after_four(tmp_path: Path) -> None:
    client = scripted(lambda messages: Answer("", 3, 64, 0.0, finish_reason="length"), tmp_path)
    done = negatives(client, tmp_path, PAIRS)
    assert done.report.asked == 4
    assert done.ended_by and "raise max_tokens" in done.ended_by
    with pytest.raises(GenerationError, match="raise max_tokens"):
        done.report.require_whole()


def test_attempts_at_one_text_count_as_one_rejection(tmp_path: Path) -> None:
    seen: list[str] = []

    def script(messages: Messages) -> Answer | str:
        seen.append(messages[-1]["content"])
        cut = len(set(seen)) <= 2
        return Answer("sore", 9, 64, 0.0, finish_reason="length") if cut else _numbered(messages)

    pool = {pair.id: pair.positive for pair in PAIRS[:4]}
    spec = SynthesizeSpec(queries=4, attempts=3)
    (tmp_path / FOLDER).mkdir()
    done = write_queries(
        pool,
        task="t",
        program=PROGRAMS / "queries.py",
        client=scripted(script, tmp_path),
        spec=spec,
        seed=0,
        folder=tmp_path / FOLDER,
    )
    assert (done.report.written, done.report.refused, done.ended_by) == (2, {"cut off": 2}, None)


@pytest.mark.parametrize("fault", ["refused", "empty"])
def test_a_generator_that_never_works_costs_four_calls_at_any_width(tmp_path: Path, fault: str) -> None:
    def script(messages: Messages) -> str:
        if fault == "refused":
            raise AnswerRejected("m refused the request: no such parameter", BAD_REQUEST)
        return " "

    client = scripted(script, tmp_path, options=LlmOptions(model="scripted:test", width=16))
    done = negatives(client, tmp_path, PAIRS * 10)
    assert client.provider.calls == 4  # type: ignore[attr-defined]
    assert done.report.asked == 4
    assert "under way" not in str(done.ended_by)


def test_calls_under_way_when_a_stage_ends_make_no_further_attempt_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, calls, slow = threading.Event(), Counter[int](), (9, 10, 11, 12)

    class Ending(FailureLimit):
        def failed(self, error: AnswerRejected) -> None:
            try:
                super().failed(error)
            except GenerationError:
                threading.Timer(0.5, go.set).start()
                raise

    monkeypatch.setattr("stm_agent.synthesize.program.FailureLimit", Ending)

    def script(messages: Messages) -> Answer | str:
        number = int(messages[-1]["content"].rsplit("number ", 1)[1].split()[0].rstrip("."))
        calls[number] += 1
        if number in slow:
            go.wait(20)
        return _numbered(messages) if number == 0 else " "

    pairs = [replace(PAIRS[0], id=str(n), positive=f"the passage on knees with the number {n}") for n in range(40)]
    client = scripted(script, tmp_path, options=LlmOptions(model="scripted:test", width=8))
    done = synthesize_negatives(
        pairs,
        {},
        task="t",
        program=PROGRAMS / "hard_negatives.py",
        client=client,
        spec=SynthesizeSpec(attempts=5),
        folder=tmp_path / FOLDER,
    )
    assert done.report.asked == 9, "one text, then eight passages with five attempts each"
    assert {number: calls[number] for number in slow} == dict.fromkeys(slow, 1), "they ended after the stage did"
    assert done.report.calls == client.provider.calls  # type: ignore[attr-defined]
    discarded = done.report.calls - (1 + 40)
    assert str(done.ended_by).endswith(f" (paid calls that were under way: {discarded})")


def test_a_budget_that_ends_leaves_what_was_written(tmp_path: Path) -> None:
    client = scripted(_numbered, tmp_path, budget=Budget(calls=3))
    done = negatives(client, tmp_path, PAIRS)
    assert len(done.negatives) == 3
    assert done.ended_by and "budget of 3 calls" in done.ended_by
    assert len(load_negatives(tmp_path / FOLDER)) == 3
    assert read_json(tmp_path / FOLDER / "written.json")["ended_by"] == done.ended_by
    resumed = scripted(_numbered, tmp_path, budget=Budget(calls=12))
    whole = negatives(resumed, tmp_path / "again", PAIRS)
    assert (len(whole.negatives), whole.report.calls) == (12, 9), "what was written is not paid again"


def test_an_llm_that_goes_away_leaves_what_was_written(tmp_path: Path) -> None:
    def script(messages: Messages) -> str:
        if about(2)(messages):
            raise GenerationError("m cannot be reached; see whether its server runs")
        return "a text on elbows"

    pool = {str(n): f"passage number {n}" for n in range(4)}
    done = queries(scripted(script, tmp_path), tmp_path, pool)
    assert done.ended_by == "m cannot be reached; see whether its server runs"
    assert len(done.pairs) == done.report.written < 4
    assert load_pairs(tmp_path / FOLDER) == done.pairs


def test_a_passage_longer_than_the_context_is_cut_and_counted(tmp_path: Path) -> None:
    seen: list[int] = []

    def script(messages: Messages) -> str:
        seen.append(len(messages[-1]["content"]))
        return f"sore knee {len(seen)}"

    pool = {"long": "A sentence on knees that ends here. " * 400, "short": "A short one on knees."}
    done = queries(scripted(script, tmp_path, facts=ModelFacts(context=2048)), tmp_path, pool)
    assert (len(done.pairs), done.report.inputs_cut) == (2, 1)
    assert max(seen) < 6000
    assert read_json(tmp_path / FOLDER / "pairs.json")["inputs_cut"] == 1


def test_a_cut_input_counts_although_its_answer_is_rejected(tmp_path: Path) -> None:
    client = scripted(
        lambda messages: Answer("sore", 9, 64, 0.0, finish_reason="length"), tmp_path, facts=ModelFacts(context=1024)
    )
    done = queries(client, tmp_path, {"long": "A sentence on knees that ends here. " * 400})
    assert (done.report.inputs_cut, done.report.refused) == (1, {"cut off": 1})


PROGRAMS_THAT_WORK = {
    "chain of thought": 'def build():\n    return dspy.ChainOfThought("passage -> query")\n',
    "two outputs": 'def build():\n    return dspy.Predict("passage -> topic, query")\n',
    "without the task": 'def build():\n    return dspy.Predict("passage -> query")\n',
    "two predictors": """
class Two(dspy.Module):
    def __init__(self):
        super().__init__()
        self.summarise = dspy.Predict("passage -> summary")
        self.ask = dspy.ChainOfThought("summary -> query")

    def forward(self, passage):
        return self.ask(summary=self.summarise(passage=passage).summary)


def build():
    return Two()
""",
}


def in_fields(messages: Messages) -> str:
    """Answer in the format that the chat asks for."""
    if "[[ ##" not in messages[-1]["content"]:
        return "a plain summary"
    fields = {"reasoning": "Because.", "topic": "knees", "query": "sore knee"}
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()) + "\n\n[[ ## completed ## ]]"


@pytest.mark.parametrize("kind", PROGRAMS_THAT_WORK)
def test_programs_of_every_shape_work(tmp_path: Path, kind: str) -> None:
    program = own_program(tmp_path, PROGRAMS_THAT_WORK[kind])
    script: Any = (lambda messages: "sore knee") if kind == "without the task" else in_fields
    (pair,) = queries(scripted(script, tmp_path), tmp_path, {"d": "A passage on knees."}, program).pairs
    assert pair.query == "sore knee"


def test_outputs_come_as_json_if_the_model_loses_the_markers(tmp_path: Path) -> None:
    program = own_program(tmp_path, PROGRAMS_THAT_WORK["two outputs"])
    client = scripted(["no markers at all", '{"topic": "knees", "query": "sore knee"}'], tmp_path)
    (pair,) = queries(client, tmp_path, {"d": "A passage on knees."}, program).pairs
    assert pair.query == "sore knee"


def test_a_model_that_keeps_no_format_is_counted_and_ends_the_stage(tmp_path: Path) -> None:
    program = own_program(tmp_path, PROGRAMS_THAT_WORK["two outputs"])
    pool = {str(n): f"passage number {n}" for n in range(9)}
    done = queries(scripted(lambda messages: "no format", tmp_path), tmp_path, pool, program)
    assert done.report.refused == {"not in the asked format": 4}
    assert done.ended_by and "give it one output field" in done.ended_by


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import nothing_of_that_name\n", "imports 'nothing_of_that_name', which is not installed"),
        ("def build():\n    return 1 / 0\n", "cannot be built: ZeroDivisionError: division by zero"),
        ("def build(:\n", "cannot be loaded: SyntaxError"),
        ("raise SystemExit(3)\n", "cannot be loaded: SystemExit: 3"),
        ("x = 1\n", r"defines no function build\(\)"),
        ("def build():\n    return 7\n", "returns int; return a dspy.Module"),
        ('def build():\n    return dspy.Predict("passage -> answer")\n', "has no output field 'query'"),
        ('def build():\n    return dspy.Predict("text -> query")\n', "needs the input 'text'"),
        (
            "class M(dspy.Module):\n    def forward(self, passage):\n        return dspy.Prediction(answer='x')\n\n\n"
            "def build():\n    return M()\n",
            "returns no field 'query'",
        ),
        (
            "class M(dspy.Module):\n    def forward(self, passage):\n        return [][0]\n\n\n"
            "def build():\n    return M()\n",
            "fails: IndexError: list index out of range; correct it",
        ),
    ],
)
def test_a_broken_program_is_one_line_with_its_file(tmp_path: Path, text: str, line: str) -> None:
    pool = {str(n): f"passage number {n}" for n in range(9)}
    with pytest.raises(ConfigError, match=line) as broken:
        queries(scripted(lambda messages: "sore knee", tmp_path), tmp_path, pool, own_program(tmp_path, text))
    assert "own.py" in str(broken.value)
    assert "\n" not in str(broken.value)


def test_a_program_that_catches_errors_cannot_go_on_without_a_budget(tmp_path: Path) -> None:
    text = """
class Stubborn(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("passage -> query")

    def forward(self, passage):
        try:
            return self.ask(passage=passage)
        except Exception:
            return dspy.Prediction(query="made up")


def build():
    return Stubborn()
"""
    client = scripted(["sore knee"], tmp_path, budget=Budget(calls=1))
    done = queries(client, tmp_path, {"a": "first passage", "b": "second passage"}, own_program(tmp_path, text))
    assert [pair.query for pair in done.pairs] == ["sore knee"]
    assert done.ended_by and "budget" in done.ended_by


def _as_told(messages: Messages) -> str | Answer:
    number = int(messages[-1]["content"].rsplit("number ", 1)[1].split()[0].rstrip("."))
    if number % 5 == 0:
        raise AnswerRejected("filtered", FILTERED)
    return " " if number % 5 == 1 else f"a text on elbows and the case {number} of them"


@pytest.mark.parametrize("script", [_as_told, lambda messages: " "])
def test_the_files_of_a_stage_are_the_same_at_any_width(tmp_path: Path, script: Any) -> None:
    files = []
    for width in (1, 7):
        folder = tmp_path / str(width)
        client = scripted(script, folder, options=LlmOptions(model="scripted:test", width=width))
        done = negatives(client, folder, PAIRS)
        stored = read_json(folder / FOLDER / "written.json")
        stored["sample"].pop("seconds")
        files.append((stored, done.negatives))
    assert files[0] == files[1]


def test_a_generator_that_answers_the_same_for_ever_ends_the_stage_in_one_line(tmp_path: Path) -> None:
    done = negatives(scripted(lambda messages: "a text on elbows", tmp_path), tmp_path, PAIRS)
    assert "answers the same to 8 different passages in a row ('a text on elbows')" in str(done.ended_by)
    assert "use another generator" in str(done.ended_by)
    assert len(done.negatives) == 7


def test_a_stage_of_stored_answers_cost_what_they_did_whoever_paid(tmp_path: Path) -> None:
    def script(messages: Messages) -> str:
        return f"a passage about something else, number {sum(map(ord, messages[-1]['content']))}"

    negatives(scripted(script, tmp_path, usd=0.01), tmp_path, PAIRS)
    paid = read_json(tmp_path / FOLDER / "written.json")["sample"]
    negatives(scripted([], tmp_path), tmp_path, PAIRS)
    again = read_json(tmp_path / FOLDER / "written.json")["sample"]
    assert (paid["calls"], paid["usd"]) == (len(PAIRS), pytest.approx(0.12))
    assert paid["tokens"] > 0
    assert [again[name] for name in ("calls", "tokens", "usd")] == [paid[name] for name in ("calls", "tokens", "usd")]
