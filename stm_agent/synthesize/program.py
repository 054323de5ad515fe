"""Run a workspace's DSPy program through the client, and clean what comes back."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stm_agent.domain.collection import normalise
from stm_agent.errors import ConfigError

if TYPE_CHECKING:
    import dspy

    from stm_agent.llm.client import Completion, LlmClient

SHORTEST = 2


def load_program(path: Path) -> dspy.Module:
    """Load the DSPy program of a file that defines ``build() -> dspy.Module``.

    Raises:
        ConfigError: The file is missing, fails, or defines no such function.
    """
    spec = importlib.util.spec_from_file_location(f"workspace_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"there is no program {path}; 'stm-agent init DIR' writes the shipped ones")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.build()
    except Exception as error:
        raise ConfigError(f"program {path} cannot be built: {type(error).__name__}: {error}") from error


class Writer:
    """One program, one client: asks, cleans, counts refusals by reason.

    Attributes:
        refused: Answers that could not be used, by reason.
        heard: Every answer, with the chat it was asked by.
    """

    def __init__(self, program: Path, client: LlmClient) -> None:
        """Load the program."""
        self.program = load_program(program)
        self.client = client
        self.refused: Counter[str] = Counter()
        self.heard: list[Completion] = []

    def write(self, output: str, *, rollout: int, unlike: tuple[str, ...], **inputs: str) -> str | None:
        """Ask for one text; None where what came back is not usable (counted in ``refused``).

        Args:
            output: Name of the program's output field.
            rollout: Number of the sample.
            unlike: Texts the answer must not repeat.
            inputs: The program's inputs.
        """
        from stm_agent.llm.dspy_lm import through

        settings = {"rollout_id": rollout + 1, "temperature": self.client.temperature}
        with through(self.client, self.heard):
            answer: Any = self.program(config=settings, **inputs)
        text = clean(str(getattr(answer, output)))
        reason = _fault(text, unlike)
        if reason:
            self.refused[reason] += 1
            return None
        return text

    def sample(self) -> dict[str, Any]:
        """Return what a trace tells of this program: its words, its first chat and answer, and what all calls cost."""
        first = self.heard[0] if self.heard else None
        return {
            "instructions": "\n\n".join(predictor.signature.instructions for predictor in self.program.predictors()),
            "messages": [dict(message) for message in first.messages] if first else [],
            "answer": first.text if first else "",
            "tokens": sum(done.prompt_tokens + done.completion_tokens for done in self.heard),
            "usd": sum(done.usd for done in self.heard),
            "seconds": round(sum(done.seconds for done in self.heard), 3),
        }


def clean(text: str) -> str:
    """Keep the first paragraph, without a label or quotes around it."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    first = lines[0] if lines else ""
    label, colon, rest = first.partition(":")
    if (
        colon
        and rest.strip()
        and len(label.split()) <= 3
        and label.lower().endswith(("negative", "passage", "query", "answer"))
    ):
        first = rest.strip()
    return first.strip("\"'` *")


def _fault(text: str, unlike: tuple[str, ...]) -> str | None:
    words = normalise(text).split()
    if len(words) < SHORTEST:
        return "empty or too short"
    for other in unlike:
        theirs = set(normalise(other).split())
        if len(set(words) & theirs) >= 0.9 * len(set(words) | theirs):
            return "repeats its input"
    return None
