"""DSPy programs ask through the client: its engine interface, no warnings, one payment for each sample."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stm_agent.errors import AnswerRejected, BudgetExceeded
from stm_agent.llm.answer import TOO_LONG, Answer, Messages
from stm_agent.llm.budget import Budget
from stm_agent.llm.dspy_engine import dspy_context
from stm_agent.llm.facts import ModelFacts
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.scripted import scripted
from stm_agent.llm.tokens import cut_at_sentence, rough_tokens

# A process of its own: LiteLLM builds its answer types once, when they are first used.
ASK = """
import sys, warnings
from pathlib import Path

from stm_agent.llm.dspy_engine import dspy_context
from stm_agent.llm.scripted import scripted

with warnings.catch_warnings():
    import dspy, litellm
warnings.simplefilter("error")
with dspy_context(scripted(["four"], Path(sys.argv[1]))):
    print(dspy.Predict("question -> answer")(question="two and two?").answer)
"""


def test_an_answer_is_read_in_silence_where_the_filters_of_its_libraries_are_gone(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", ASK, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "four\n"), done.stderr


class Numbered:
    """Answers ``[[ ## answer ## ]]`` with the number of the call."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, messages: Messages) -> str:
        self.calls += 1
        return f"[[ ## answer ## ]]\nnumber {self.calls}\n\n[[ ## completed ## ]]"


def test_an_optimisers_samples_are_different_requests_and_paid_once(tmp_path: Path) -> None:
    import dspy

    def ask(script: Numbered) -> list[str]:
        with dspy_context(scripted(script, tmp_path), own_format=True):
            return list(dspy.Predict("question -> answer", n=3)(question="two?").completions.answer)

    first, again = Numbered(), Numbered()
    assert ask(first) == ["number 1", "number 2", "number 3"]
    assert ask(again) == ["number 1", "number 2", "number 3"]
    assert again.calls == 0, "a resumed run asks for the same samples and pays nothing"


def test_samples_of_a_program_call_are_apart_and_known_by_their_number(tmp_path: Path) -> None:
    import dspy

    client = scripted(["zero", "one"], tmp_path)

    def ask(sample: int) -> str:
        with dspy_context(client, sample=sample):
            return str(dspy.Predict("question -> answer")(question="two?").answer)

    assert [ask(0), ask(1), ask(0)] == ["zero", "one", "zero"]


def test_an_answer_paid_before_the_engine_interface_is_found(tmp_path: Path) -> None:
    import dspy

    chat = [
        {"role": "system", "content": dspy.Signature("question -> answer").instructions},
        {"role": "user", "content": "Question: two?"},
    ]
    scripted(["paid before"], tmp_path).complete(chat, rollout=1)
    with dspy_context(scripted([], tmp_path), sample=0):
        assert dspy.Predict("question -> answer")(question="two?").answer == "paid before"


def test_errors_of_the_client_come_out_as_they_are(tmp_path: Path) -> None:
    import dspy

    with (
        pytest.raises(BudgetExceeded, match="0 calls"),
        dspy_context(scripted(["four"], tmp_path, budget=Budget(calls=0)), sample=0),
    ):
        dspy.Predict("question -> answer")(question="two?")


def test_an_answer_that_is_cut_off_is_no_output_of_a_program(tmp_path: Path) -> None:
    import dspy

    client = scripted([Answer("half a sen", 1, 64, 0.0, finish_reason="length")], tmp_path)
    with pytest.raises(AnswerRejected, match="max_tokens") as rejected, dspy_context(client, sample=0) as record:
        dspy.Predict("question -> answer")(question="two?")
    assert rejected.value.reason == "cut off"
    assert record.completions[0].text == "half a sen", "what was paid is recorded"


def test_thoughts_are_no_output_of_a_program(tmp_path: Path) -> None:
    import dspy

    client = scripted(["<think>[[ ## answer ## ]] five?</think>four"], tmp_path)
    with dspy_context(client, sample=0):
        assert dspy.Predict("question -> answer")(question="two?").answer == "four"


@pytest.mark.parametrize(
    ("model", "small"),
    [
        ("embedded:smollm2-135m", True),
        ("ollama/llama3.2:3b", True),
        ("huggingface/Qwen/Qwen3-0.6B", True),
        ("openai/gpt-5-mini", False),
        ("groq/llama-3.3-70b-versatile", False),
        ("mistral/mixtral-8x7b", False),
    ],
)
def test_small_models_are_known_by_their_name(model: str, small: bool) -> None:
    from stm_agent.llm.adapter import is_small

    assert is_small(model) is small


def test_a_large_model_gets_field_markers_and_a_single_text_without_them_is_taken(tmp_path: Path) -> None:
    import dspy

    seen: list[str] = []

    def script(messages: Messages) -> str:
        seen.append(messages[-1]["content"])
        return "four, without any marker"

    client = scripted(script, tmp_path, options=LlmOptions(model="openai/gpt-5-mini"))
    with dspy_context(client, sample=0):
        assert dspy.Predict("question -> answer")(question="two?").answer == "four, without any marker"
    assert len(seen) == 1 and "[[ ## question ## ]]" in seen[0]


def test_an_input_longer_than_the_context_is_cut_at_a_sentence(tmp_path: Path) -> None:
    import dspy

    seen: list[str] = []

    def script(messages: Messages) -> str:
        seen.append(messages[-1]["content"])
        return "four"

    passage = " ".join(f"Sentence number {number} ends here." for number in range(500))
    client = scripted(script, tmp_path, facts=ModelFacts(context=1024))
    with dspy_context(client, sample=0) as record:
        dspy.Predict("task, passage -> answer")(task="find it", passage=passage)
    assert record.inputs_cut == 1
    assert seen[0].startswith("Task: find it\nPassage: Sentence number 0 ends here.")
    assert seen[0].endswith("ends here.") and len(seen[0]) < 4000


def test_an_input_that_the_provider_finds_too_long_is_cut_and_asked_again(tmp_path: Path) -> None:
    import dspy

    def script(messages: Messages) -> str:
        if len(messages[-1]["content"]) > 2000:
            raise AnswerRejected("too long", TOO_LONG)
        return "four"

    passage = "A sentence that ends here. " * 200
    with dspy_context(scripted(script, tmp_path), sample=0) as record:
        assert dspy.Predict("passage -> answer")(passage=passage).answer == "four"
    assert record.inputs_cut == 1


@pytest.mark.parametrize(
    "text", ["One. Two! Three? " * 50, "膝关节是人体最大的关节。" * 50, "x" * 1000, "word " * 300, "Only one sentence."]
)
def test_a_cut_text_is_a_beginning_and_fits(text: str) -> None:
    cut = cut_at_sentence(text, 60)
    assert text.startswith(cut) and cut
    assert rough_tokens(cut) <= 60
    if text[3] in "。." or text[-1] == "。":
        assert cut[-1] in ".!?。"
