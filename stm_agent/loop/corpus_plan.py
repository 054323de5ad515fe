"""What ``optimize --corpus`` would do: documents read and cut, passages drawn, calls and costs; no LLM is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stm_agent.domain.corpus_files import Corpus, read_corpus
from stm_agent.domain.passages import PASSAGE_TOKENS, Passages, cut_passages, draw_passages
from stm_agent.domain.spec import SynthesizeSpec
from stm_agent.domain.synthetic import SHARES, check_can_be_split
from stm_agent.llm.facts import model_facts
from stm_agent.llm.options import LlmOptions
from stm_agent.llm.tokens import rough_tokens
from stm_agent.loop.options import Options

QUERIES = 500
"""Passages that a query is written for, at most. With 150 dev and 150 test queries gains of a few hundredths of nDCG@10
can be shown; of written queries 1,000 spread over a corpus teach more than 5,000 drawn blindly."""
PROMPT_TOKENS = 400
"""Tokens around the passage in a prompt of the shipped program, about."""


@dataclass(frozen=True, kw_only=True)
class CorpusPlan:
    """A corpus before anything is asked for.

    Attributes:
        corpus: The documents.
        passages: What they were cut into.
        drawn: Passage id -> text of those that a query is written for.
    """

    corpus: Corpus
    passages: Passages
    drawn: Mapping[str, str]

    @property
    def summary(self) -> str:
        """Documents, passages and queries in one line."""
        return (
            f"{len(self.corpus.documents):,} documents of {self.corpus.name}, cut at sentence ends into "
            f"{len(self.passages.documents):,} passages of at most about {PASSAGE_TOKENS} tokens; queries for "
            f"{len(self.drawn):,} of them"
        )


def plan_corpus(path: Path, *, queries: int = QUERIES, seed: int = 0) -> CorpusPlan:
    """Read a corpus, cut it and draw the passages that queries are written for; no LLM is asked.

    Raises:
        DataError: It cannot be read, or is too small to be split by document.
    """
    corpus = read_corpus(path)
    passages = cut_passages(corpus.documents)
    drawn = draw_passages(passages, queries, seed)
    check_can_be_split(corpus.name, drawn, passages)
    return CorpusPlan(corpus=corpus, passages=passages, drawn=drawn)


def plan_steps(plan: CorpusPlan, options: Options) -> list[dict[str, str]]:
    """Return the stages that ``--dry-run`` prints: passages, calls and costs."""
    llm = llm_options(options)
    calls, attempts = len(plan.drawn), SynthesizeSpec().attempts
    tokens = sum(map(rough_tokens, plan.drawn.values())) + calls * PROMPT_TOKENS
    facts = model_facts(llm)
    cost = facts.cost(attempts * tokens, attempts * calls * llm.max_tokens)
    shares = ", ".join(f"{share:.0%} {name}" for name, share in SHARES.items())
    price = f"at most about {cost:.2f} USD" if cost is not None else "at a price that is not known here"
    return [
        {"stage": "corpus", "what": plan.summary},
        *({"stage": "corpus", "what": note} for note in plan.corpus.notes),
        {
            "stage": "synthesize",
            "what": f"{calls:,} LLM calls by {llm.model} (about {tokens:,} prompt tokens), {attempts * calls:,} if no "
            f"first answer can be used, {price}; answers that were paid for before cost nothing",
        },
        {"stage": "splits", "what": f"{shares} by document; all of them are called synthetic"},
        {
            "stage": "run",
            "what": "as with --collection, on the folder that is written; writing and run take at most "
            f"{options.with_ceiling(planned=True).budget_minutes:g} minutes together",
        },
    ]


def llm_options(options: Options) -> LlmOptions:
    """Return the options of the LLM that writes, with the same temperature and token limit as in a run."""
    return options.llm_of(SynthesizeSpec(), options.generator)
