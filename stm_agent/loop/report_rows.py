"""What ``report.json`` holds."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from stm_agent.loop.forgetting import GuardRow
from stm_agent.loop.run_plan import StartRow
from stm_agent.merge.result import FrontPoint

SCHEMA = 2


class Difference(TypedDict):
    """The final model minus a row, paired over queries."""

    delta: float
    low: float
    high: float
    p_value: float


class Row(TypedDict):
    """One model on the test queries."""

    ndcg_at_10: float
    low: float
    high: float
    recall_at_100: float
    mrr_at_10: float
    merged_minus_this: Difference


class GateReport(TypedDict):
    """How dev was cut, and what the gate spent."""

    mode: str
    search_queries: int
    accept_queries: int
    alpha: float
    smallest_gain: float
    looks: int
    alpha_spent: float
    considered: int


class Writing(TypedDict):
    """What texts of one kind cost, whichever run paid for them first: a text in the cache costs nothing again."""

    asked: int
    written: int
    copied: int
    calls: int
    tokens: int
    usd: float
    seconds: float


class Cost(TypedDict):
    """Cost of a run, over all processes."""

    usd: float
    llm_calls: int
    prompt_tokens: int
    completion_tokens: int
    minutes: float
    seconds: dict[str, float]
    overhead_share: float
    texts_per_second: dict[str, float]
    peak_memory_gib: float
    writing: NotRequired[dict[str, Writing]]


class CollectionReport(TypedDict):
    """The collection; ``synthetic`` names the splits whose queries an LLM wrote.

    ``languages`` has codes such as ``eng-Latn``, empty if they are not known; older reports do not have it.
    """

    name: str
    source: str
    licence: str
    documents: int
    dev_queries: int
    synthetic: list[str]
    languages: NotRequired[list[str]]
    test_queries: NotRequired[int]


class Report(TypedDict):
    """``report.json``. A stopped run has no test rows.

    ``untouched`` names the row of the start as it comes: ``base``, or another one if the run read fewer tokens of each
    text than the start does by itself. None: such a row is missing, and a note says why.
    """

    schema: int
    run: str
    state: Literal["finished", "stopped"]
    reason: str
    domain: str
    seed: int
    collection: CollectionReport
    rows: dict[str, Row]
    untouched: NotRequired[str | None]
    best_expert_on_dev: str | None
    model_label: str
    weights: dict[str, float]
    rank_correlation: float | None
    front: list[FrontPoint]
    front_taken: int | None
    instruction: str
    passage_instruction: str
    dev: dict[str, float]
    general: dict[str, float]
    guards: NotRequired[dict[str, GuardRow]]
    gate: GateReport
    dev_to_test_gap: NotRequired[float]
    race: list[StartRow]
    plan: list[str]
    test_openings: int
    failures: list[dict[str, str]]
    warnings: list[str]
    notes: NotRequired[list[str]]
    budget: dict[str, float | None]
    cost: Cost
    model: str
