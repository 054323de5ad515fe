"""Types of queries: what the generator is asked for, and how often each one.

A mix of types is better than any single type (arXiv 2505.19274), and the mix of the users' own queries is the best
guess of what will be asked (arXiv 2501.14466): so the shares follow the domain's train queries, and no type is left
out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from stm_agent.domain.scripts import units
from stm_agent.domain.synthesize_spec import QUERY_TYPES
from stm_agent.files import sha256_text

EVEN = 0.25
"""Weight of the even mix against the weight 1 of the measured one."""
FEWEST = 20
"""Train queries from which their types are counted."""
DESCRIPTIONS: Mapping[str, str] = {
    "question": "a question, as a whole sentence that ends with a question mark",
    "keywords": "keywords, two to five words without grammar, as typed into a search box",
    "claim": "a claim, one statement that the passage supports",
    "everyday": "everyday words, as somebody without any technical terms describes what they need",
    "title": "a title, as the headline of a text on exactly this",
}
"""Type -> the request to the generator."""

_ASKING = (
    "what how why who whom whose when where which is are was were do does did can could should would will has have"
)
_BINDING = (
    "a an the of to in on at for with from by as and or not be been had i my me we our you your it its they their he "
    "she his her this that these those if while there after before because so"
)
_QUESTION_WORDS = frozenset(_ASKING.split())
_GRAMMAR = frozenset((*_ASKING.split(), *_BINDING.split()))


def described(name: str) -> str:
    """Return the request for a type of query; a type that a user made up is requested by its name."""
    return DESCRIPTIONS.get(name, name)


def type_of(query: str) -> str:
    """Return the type of a query by a plain rule on its form; English words, other languages by punctuation alone."""
    text, words = query.strip(), units(query)
    lower = [word.lower() for word in words]
    if not words:
        return "keywords"
    if text[-1] in "?\uff1f\u061f" or (lower[0] in _QUESTION_WORDS and len(words) > 2):
        return "question"
    if text[-1] in ".!\u3002\uff01\u0964" and len(words) >= 5:
        return "claim"
    capital = sum(word[0].isupper() for word in text.split())
    if len(words) >= 3 and capital >= 0.6 * len(text.split()):
        return "title"
    return "everyday" if _GRAMMAR & set(lower) else "keywords"


def mix_of(examples: Sequence[str], types: Sequence[str] = QUERY_TYPES) -> dict[str, float]:
    """Return the share of each type; the shares add up to 1.

    Args:
        examples: Train queries; fewer than :data:`FEWEST` decide nothing.
        types: The types asked for. Those that no rule knows share evenly.
    """
    counts = Counter(type_of(example) for example in examples if example.strip())
    measured = {name: counts[name] for name in types}
    total = sum(measured.values())
    if len(examples) < FEWEST or not total:
        return {name: 1 / len(types) for name in types}
    return {name: (measured[name] / total + EVEN / len(types)) / (1 + EVEN) for name in types}


def deal_types(mix: Mapping[str, float], passages: int, each: int) -> list[tuple[str, ...]]:
    """Return the types of each passage's queries: after any number of passages each type has its share, nearly.

    Args:
        mix: Type -> share.
        passages: Number of passages.
        each: Queries of one passage, of different types; at most as many as there are types.
    """
    given: Counter[str] = Counter()
    dealt: list[tuple[str, ...]] = []
    for _ in range(passages):
        types: list[str] = []
        while len(types) < min(each, len(mix)):
            total = given.total() + 1
            chosen = max((name for name in mix if name not in types), key=lambda name: mix[name] * total - given[name])
            types.append(chosen)
            given[chosen] += 1
        dealt.append(tuple(types))
    return dealt


def shown_examples(examples: Sequence[str], name: str, count: int, seed: int) -> tuple[str, ...]:
    """Return up to ``count`` train queries of a type, drawn by a seeded hash; any, if the type is the user's own.

    The same ones for every passage, so that a provider's prompt cache serves them.
    """
    own = [text for text in dict.fromkeys(examples) if name not in DESCRIPTIONS or type_of(text) == name]
    return tuple(sorted(own, key=lambda example: sha256_text(f"{seed} {name} {example}"))[:count])
