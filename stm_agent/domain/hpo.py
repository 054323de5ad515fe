"""The Human Phenotype Ontology as a retrieval task: a patient's words -> the clinical definition.

Split by *term*: no synonym and no definition of a dev or test term is ever trained on. A query is
one layperson synonym; every term of the corpus that carries the same words is relevant to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from stm_agent.domain.collection import Collection, Document, Split
from stm_agent.domain.data import DomainData, Pair
from stm_agent.domain.obo import Ontology, Term, parse_obo
from stm_agent.domain.spec import HpoCollection
from stm_agent.domain.text import normalise, share
from stm_agent.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

SIBLINGS = 4
"""Structural negatives kept for each pair."""


def build_hpo(spec: HpoCollection) -> DomainData:
    """Fetch the ontology (once) and build its data; errors as :func:`hpo_material`."""
    from stm_agent.assets.pull import pull

    path = pull("hpo")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}; fetch it again: stm-agent assets pull hpo") from error
    return hpo_material(parse_obo(text), spec)


def hpo_material(ontology: Ontology, spec: HpoCollection) -> DomainData:
    """Build collection, training pairs and pool of an ontology.

    Raises:
        ConfigError: ``spec.documents`` is less than the dev and test terms alone.
        DataError: The ontology is too small for a dev and a test split.
    """
    parts = _Parts.of(ontology, spec)
    if spec.documents < len(parts.held):
        raise ConfigError(f"collection hpo: documents is {spec.documents}; dev and test alone have {len(parts.held)}")
    corpus = _corpus(parts, spec)
    splits = _splits(parts, corpus, spec)
    collection = Collection(
        name="hpo",
        documents=tuple(Document(term.id, "", term.definition) for term in corpus),
        splits=splits,
        licence=ontology.licence,
        source=f"Human Phenotype Ontology, data-version {ontology.version}",
    )
    pool = {term.id: term.definition for term in parts.trainable}
    taken = {normalise(query) for split in splits.values() for query in split.queries.values()}
    siblings = _siblings(parts, pool)
    kinds: Mapping[str, Callable[[Term], Sequence[str]]] = {
        "lay": lambda term: term.lay,
        "clinical": lambda term: term.clinical,
    }
    sources = {kind: _pairs(kind, words, parts.trainable, siblings, taken) for kind, words in kinds.items()}
    return DomainData(collection, sources, pool, {key: parts.near[key] & pool.keys() for key in pool})


@dataclass(frozen=True)
class _Parts:
    """The terms by the role they play.

    Attributes:
        terms: All terms.
        held: Id -> ``dev`` or ``test``, in file order.
    """

    terms: tuple[Term, ...]
    held: Mapping[str, str]

    @classmethod
    def of(cls, ontology: Ontology, spec: HpoCollection) -> _Parts:
        held = {}
        for term in ontology.terms:
            position = share(f"s{term.id}")
            if term.lay and position < spec.test_share + spec.dev_share:
                held[term.id] = "test" if position < spec.test_share else "dev"
        return cls(ontology.terms, held)

    @cached_property
    def trainable(self) -> tuple[Term, ...]:
        """Terms that may be trained on: not held out, and without the definition of a term that is."""
        held_definitions = {normalise(term.definition) for term in self.terms if term.id in self.held}
        free = [term for term in self.terms if term.id not in self.held]
        usable = tuple(term for term in free if normalise(term.definition) not in held_definitions)
        if len(usable) < len(free):
            logger.info("hpo: %d terms share a definition with dev or test; left out", len(free) - len(usable))
        return usable

    @cached_property
    def near(self) -> Mapping[str, frozenset[str]]:
        """Term id -> itself, all its ancestors and its children, which are never its negatives."""
        parents = {term.id: term.parents for term in self.terms}
        near = {term.id: {term.id} for term in self.terms}
        for term in self.terms:
            for parent in term.parents:
                near.get(parent, set()).add(term.id)
            waiting = list(term.parents)
            while waiting:
                ancestor = waiting.pop()
                if ancestor not in near[term.id]:
                    near[term.id].add(ancestor)
                    waiting.extend(parents.get(ancestor, ()))
        return {key: frozenset(ids) for key, ids in near.items()}


def _corpus(parts: _Parts, spec: HpoCollection) -> list[Term]:
    held = [term for term in parts.terms if term.id in parts.held]
    others = [term for term in parts.terms if term.lay and term.id not in parts.held]
    others.sort(key=lambda term: share(f"c{term.id}"))
    return held + others[: spec.documents - len(held)]


def _splits(parts: _Parts, corpus: Sequence[Term], spec: HpoCollection) -> dict[str, Split]:
    carriers: dict[str, list[Term]] = {}
    for term in corpus:
        for words in term.lay:
            same = carriers.setdefault(normalise(words), [])
            if term not in same:
                same.append(term)
    inside = frozenset(term.id for term in corpus)
    taken: set[str] = set()
    splits = {}
    # Test first, so that words of both a dev and a test term become a test query.
    for name in ("test", "dev"):
        queries: dict[str, str] = {}
        for term in corpus:
            own = term.lay if parts.held.get(term.id) == name else ()
            for number, text in enumerate(own, start=1):
                if normalise(text) not in taken:
                    taken.add(normalise(text))
                    queries[f"{term.id}/{number}"] = text
        if not queries:
            raise DataError(f"the ontology has no {name} term; raise {name}_share")
        qrels = {key: _grades(carriers[normalise(text)], inside, spec) for key, text in queries.items()}
        splits[name] = Split(name, queries, qrels)
    return splits


def _grades(relevant: Sequence[Term], inside: frozenset[str], spec: HpoCollection) -> dict[str, int]:
    grades = {term.id: 1 + spec.parent_grade for term in relevant}
    if spec.parent_grade:
        for term in relevant:
            for parent in term.parents:
                if parent in inside:
                    grades.setdefault(parent, spec.parent_grade)
    return grades


def _siblings(parts: _Parts, pool: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return term id -> definitions of a few terms under the same parent, chosen by hash."""
    children: dict[str, list[str]] = {}
    for term in parts.trainable:
        for parent in term.parents:
            children.setdefault(parent, []).append(term.id)
    siblings = {}
    for term in parts.trainable:
        others = {child for parent in term.parents for child in children[parent]} - parts.near[term.id]
        chosen = sorted(others, key=lambda other, of=term.id: (share(f"{of}/{other}"), other))[:SIBLINGS]  # type: ignore[misc]
        siblings[term.id] = tuple(pool[other] for other in chosen)
    return siblings


def _pairs(
    source: str,
    words_of: Callable[[Term], Sequence[str]],
    terms: Sequence[Term],
    siblings: Mapping[str, tuple[str, ...]],
    taken: set[str],
) -> tuple[Pair, ...]:
    pairs = []
    left_out = 0
    definitions = {term.id: term.definition for term in terms}
    for term in terms:
        aliases = tuple(words for words in term.clinical if normalise(words) not in taken)
        # A parent's definition is true of the term but says less, as with parent_grade 1.
        related = tuple((definitions[parent], 0.5) for parent in term.parents if parent in definitions)
        # Words that differ only in spelling make one pair.
        distinct = {normalise(words): words for words in reversed(words_of(term))}
        for number, (key, words) in enumerate(sorted(distinct.items()), start=1):
            if key in taken:
                left_out += 1
                continue
            name = f"{source}:{term.id}/{number}"
            pairs.append(Pair(name, words, term.definition, source, term.id, siblings[term.id], aliases, related))
    if left_out:
        logger.info("hpo: %d %s texts are dev or test queries; left out", left_out, source)
    return tuple(pairs)
