"""What a run will take besides minutes: US dollars by stage from the generator's price, disk and memory from sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from stm_agent.domain.backbone_spec import VectorFormat
from stm_agent.domain.collection_spec import FrozenCollection
from stm_agent.domain.data import DomainData
from stm_agent.domain.spec import WRITTEN, BackboneSpec, DomainSpec, TrainSpec
from stm_agent.evaluate.corpus import stored_as
from stm_agent.evaluate.ranking import SCORES_AT_ONCE
from stm_agent.evaluate.shards import BYTES, SHARD
from stm_agent.llm.facts import ModelFacts, model_facts
from stm_agent.llm.options import JUDGEMENT_TOKENS, LlmOptions
from stm_agent.loop.data_jobs import negatives_asked
from stm_agent.loop.options import Options
from stm_agent.machine import this_machine
from stm_agent.merge.adapted import AdaptedModel
from stm_agent.synthesize.graded import LEVELS

CALL_SECONDS = 2.0
"""Seconds of an LLM call, assumed before a run has made one."""
LETTERS_OF_A_TOKEN = 4
"""Letters of a token of English, about."""
PROGRAM_TOKENS = 250
"""Tokens of a program's own words in a prompt, about."""
INSTRUCTIONS = "instructions"
"""Stage whose calls the reflecting LLM answers."""
REFLECTION_TOKENS = 1500
"""Tokens of a prompt that reflects on an instruction: a few queries with what was found for them, about."""
SAMPLE = 1000
"""Passages whose lengths are measured."""
BYTES_OF_A_WORD = 100
"""Memory of BM25's index for each word of the corpus, while it is built (measured: 100,000 passages of 12 words)."""
COPIES_OF_VECTORS = 2.2
"""Sets of vectors in memory while a corpus is encoded and ranked, names included (measured as above)."""
SHARDS_IN_MEMORY = 4
"""Shards in float32 that are in memory while one is encoded, rounded and written."""
BYTES_OF_A_SCORE = 16
TRAINED_COPIES = 3
"""An adapter and its optimiser's two moments, which a checkpoint of a training holds."""
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Calls:
    """The LLM calls of one stage of one round.

    Attributes:
        stage: What is written.
        number: Calls, at most.
        prompt_tokens: Tokens of a prompt, about.
        answer_tokens: Tokens of an answer, at most.
        judge: The LLM that grades; None: another LLM answers.
    """

    stage: str
    number: int
    prompt_tokens: int
    answer_tokens: int
    judge: str | None = None

    def usd(self, facts: ModelFacts) -> float | None:
        """Return the dollars of all calls; None if the price is unknown."""
        return facts.cost(self.number * self.prompt_tokens, self.number * (self.answer_tokens + facts.headroom))


def query_calls(spec: DomainSpec, sources: Collection[str]) -> int:
    """Return the LLM calls that written queries take, one each; 0 if no expert learns from them.

    Args:
        spec: The domain.
        sources: Names of all sources that its experts learn from.
    """
    return spec.synthesize.queries if WRITTEN in sources else 0


def llm_calls(spec: DomainSpec, passage_tokens: int) -> tuple[Calls, ...]:
    """Return the calls of one round by stage; stages without calls are left out.

    Args:
        spec: The domain with its experts.
        passage_tokens: Tokens of a passage of the corpus.
    """
    written = query_calls(spec, {source for expert in spec.experts for source in expert.sources})
    asked = any(expert.negatives.synthetic for expert in spec.experts)
    negatives = spec.synthesize.pairs * negatives_asked(spec) * asked
    graded = spec.synthesize.graded * len(LEVELS) * any(expert.related for expert in spec.experts)
    tokens, answer = PROGRAM_TOKENS + passage_tokens, spec.synthesize.max_tokens
    instructions = spec.instruct.reflections + spec.instruct.pool
    stages = (
        Calls(stage="written queries", number=written, prompt_tokens=tokens, answer_tokens=answer),
        Calls(
            stage="written negatives",
            number=negatives,
            prompt_tokens=tokens + passage_tokens,
            answer_tokens=answer,
        ),
        Calls(stage="graded passages", number=graded, prompt_tokens=tokens, answer_tokens=answer),
        Calls(
            stage="a teacher's grades",
            number=spec.teach.judged if spec.grading_teacher else 0,
            prompt_tokens=tokens,
            answer_tokens=JUDGEMENT_TOKENS,
            judge=spec.grading_teacher,
        ),
        Calls(
            stage="an audit's grades",
            number=_audit_calls(spec),
            prompt_tokens=tokens,
            answer_tokens=JUDGEMENT_TOKENS,
            judge=spec.audit.judge,
        ),
        Calls(stage=INSTRUCTIONS, number=instructions, prompt_tokens=REFLECTION_TOKENS, answer_tokens=answer),
    )
    return tuple(stage for stage in stages if stage.number)


def _audit_calls(spec: DomainSpec) -> int:
    """Return the calls to the judge of an audit: of candidates and of as many known positives, mined and written."""
    if not spec.audit.enabled or not spec.audit.judge:
        return 0
    mined = any(expert.negatives.mined for expert in spec.experts)
    written = any(expert.negatives.synthetic for expert in spec.experts)
    return 2 * spec.audit.judged * (mined + written)


def llm_dollars(spec: DomainSpec, options: Options, passage_tokens: int) -> float | None:
    """Return the dollars of all LLM calls of all rounds, at most; None if a price is unknown."""
    total = 0.0
    for stage in llm_calls(spec, passage_tokens):
        usd = stage.usd(model_facts(_llm(spec, stage, options)))
        if usd is None:
            return None
        total += usd * options.rounds_of(spec)
    return total


def _llm(spec: DomainSpec, stage: Calls, options: Options) -> LlmOptions:
    """Return the LLM that answers a stage's calls."""
    if stage.judge:
        return options.llm(spec, options.generator).as_judge(stage.judge)
    return options.llm(spec, (options.reflection if stage.stage == INSTRUCTIONS else None) or options.generator)


def calls_line(spec: DomainSpec, options: Options, passage_tokens: int) -> str:
    """Return one line: the LLM calls of one round by model, at most."""
    numbers: Counter[str] = Counter()
    for stage in llm_calls(spec, passage_tokens):
        numbers[_llm(spec, stage, options).model] += stage.number
    if not numbers:
        return "no LLM calls"
    parts = (f"{count:,} LLM {'call' if count == 1 else 'calls'} by {model}" for model, count in numbers.items())
    return f"up to {' and '.join(parts)}"


def dollars(spec: DomainSpec, options: Options, passage_tokens: int) -> str:
    """Return one line: calls and dollars by stage of all rounds together, at most, and their sum."""
    rounds, total, parts = options.rounds_of(spec), 0.0, []
    unknown = ""
    for stage in llm_calls(spec, passage_tokens):
        llm = _llm(spec, stage, options)
        model, usd = llm.model, stage.usd(model_facts(llm))
        unknown = model if usd is None else unknown
        total += (usd or 0.0) * rounds
        price = "" if usd is None else f" for {usd * rounds:.4f} USD"
        parts.append(f"{stage.stage} {rounds * stage.number:,} calls of {model}{price}")
    if not parts:
        return "no LLM calls: 0 USD"
    rest = f"{total:.4f} USD together"
    if unknown:
        rest = f"nobody knows the price of {unknown}; name it with --price-in and --price-out"
    return f"LLM, at most about: {', '.join(parts)}; {rest}"


def passage_tokens(data: DomainData) -> int:
    """Return the tokens of a passage of the corpus, about."""
    texts = list(data.collection.texts.values())[:SAMPLE]
    return sum(map(len, texts)) // (LETTERS_OF_A_TOKEN * len(texts)) + 1 if texts else 1


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Sizes of a start.

    Attributes:
        dimension: Length of a vector.
        weights: Bytes of its weights as they are loaded.
        adapter: Bytes of one LoRA adapter in float32.
    """

    dimension: int
    weights: int
    adapter: int


def model_size(start: BackboneSpec, train: TrainSpec) -> ModelSize:
    """Load a start and measure it.

    Raises:
        BackboneError: It cannot be loaded, or has no layer that LoRA could adapt.
    """
    from stm_agent.backbone.lora import lora_targets
    from stm_agent.backbone.network import network_of

    encoder = AdaptedModel(start).open()
    network = network_of(encoder.model)
    modules = dict(network.named_modules())
    shapes = (modules[name].weight.shape for name in lora_targets(network, embeddings=train.embeddings))
    return ModelSize(
        dimension=encoder.dimension,
        weights=sum(parameter.numel() * parameter.element_size() for parameter in network.parameters()),
        adapter=sum(4 * train.lora_rank * sum(shape) for shape in shapes),
    )


def disk(spec: DomainSpec, data: DomainData, size: ModelSize) -> str:
    """Return one line: the GiB that a planned run writes, about, and how much of them each stage writes."""
    asked = sum(len(split.queries) for split in data.collection.splits.values())
    stages = written_bytes(spec, documents=len(data.collection.documents), asked=asked, size=size)
    parts = ", ".join(f"{name} {_gib(amount)}" for name, amount in stages.items())
    return f"about {_gib(sum(stages.values()))} GiB: {parts}"


def written_bytes(spec: DomainSpec, *, documents: int, asked: int, size: ModelSize) -> dict[str, float]:
    """Return what a run writes, in bytes, by stage.

    Args:
        spec: The domain with its experts.
        documents: Passages of the corpus.
        asked: Queries of all splits.
        size: Of the start.
    """
    both, queries = (
        sum(spec.trainings_of(expert) for expert in spec.experts if expert.side == side) for side in ("both", "query")
    )
    searched = min(documents, spec.loop.search_documents or documents)
    guards = sum(guard.documents for guard in spec.general if isinstance(guard, FrozenCollection))
    # The start and, if passages get new vectors, each expert of both sides; the whole corpus once more for the result.
    passages = (1 + both) * (searched + guards) + (1 + bool(both)) * (documents - searched)
    vectors = passages + (1 + both + queries + spec.merge.verify) * asked
    number = BYTES[stored_as(documents, size.dimension, spec.backbone.vectors) or "float32"]
    return {
        "vectors": vectors * size.dimension * number,
        "experts": (both + queries) * size.adapter,
        "checkpoints while training": TRAINED_COPIES * size.adapter,
        # The stage's folder and its copy in the run's.
        "the model": 2 * (1 + bool(queries)) * size.weights,
    }


def memory(data: DomainData, size: ModelSize, vectors: VectorFormat = "auto") -> tuple[str, bool]:
    """Return one line on the memory that encoding and ranking the corpus needs, and whether this machine has it.

    Args:
        data: The domain's.
        size: Of the start.
        vectors: How the start's vectors are stored.
    """
    documents = len(data.collection.documents)
    texts = list(data.collection.texts.values())[:SAMPLE]
    share = documents / max(len(texts), 1)
    letters, words = sum(map(len, texts)) * share, sum(len(text.split()) for text in texts) * share
    in_memory = stored_as(documents, size.dimension, vectors) is None
    # Of vectors in shards a block is in memory, and a shard while it is encoded.
    rows = COPIES_OF_VECTORS * documents if in_memory else SHARDS_IN_MEMORY * SHARD
    needed = (
        2 * letters
        + BYTES_OF_A_WORD * words
        + rows * size.dimension * 4
        + min(SCORES_AT_ONCE, documents * max(_queries(data))) * BYTES_OF_A_SCORE
        + 2 * size.weights
    )
    free = this_machine().memory_gib
    line = f"about {_gib(needed)} GiB for {documents:,} passages, of {free:.1f} that are free"
    return line, needed / GIB <= free


def _queries(data: DomainData) -> Iterator[int]:
    yield 1
    yield from (len(split.queries) for split in data.collection.splits.values())


def _gib(amount: float) -> str:
    return f"{amount / GIB:.2f}"
