"""Search of a project's documents, and the runs that a judging pool is made of."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

from sqlalchemy import String, cast, func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.database import Database
from stm_agent.annotate.faults import Invalid, NotFound
from stm_agent.annotate.finding import KEPT, Asked, Corpus, Finder, fuse, read_query
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.services.documents import passage_of
from stm_agent.annotate.services.encoding import WAITED_FOR, Models
from stm_agent.annotate.spelling import WORD, Snippet, composed, snippet
from stm_agent.annotate.tables import Document, Project
from stm_agent.errors import StmAgentError
from stm_agent.files import sha256_text

log = logging.getLogger(__name__)
MODES = ("bm25", "dense", "both")
DEPTH = 1000
"""Passages of a run that are kept for each query, as many as TREC runs have."""
LIKE = 4000
"""Characters of a document by whose words others like it are found."""


class Hit(TypedDict):
    """A document that was found, by its key."""

    key: str
    score: float
    snippet: Snippet


def corpus_of(session: Session, finder: Finder, project: Project) -> Corpus:
    """Return a project's documents with their index.

    Raises:
        ConfigError: There are none.
    """
    own = Document.project_id == project.id
    state = session.execute(select(func.count(), func.max(Document.id)).where(own)).one()
    # SQLite gives the number of a deleted last row to the next one: the last row's content distinguishes them.
    # Every search asks: it is taken as it is stored, for to read the JSON of a book takes a while.
    stored = Document.key + cast(Document.fields, String)
    last = session.scalar(select(stored).where(own).order_by(Document.position.desc()).limit(1)) or ""
    schema = ProjectSchema.model_validate(project.schema)

    def load() -> tuple[dict[str, str], dict[str, dict[str, object]]]:
        rows = session.execute(select(Document.key, Document.fields).where(own).order_by(Document.position)).all()
        return {key: passage_of(schema, key, fields).full for key, fields in rows}, dict(rows)

    return finder.corpus(project.key, [*state, sha256_text(last), schema.content_fields], load)


def index_all(database: Database, finder: Finder) -> None:
    """Make the indexes of the newest projects ready, so that nobody's first search waits for them."""
    with database.reading() as session:
        newest = session.execute(select(Project.id, Project.name).order_by(Project.id.desc()).limit(KEPT)).all()
    for number, name in newest:
        try:
            with contextlib.suppress(StmAgentError), database.reading() as session:
                corpus_of(session, finder, session.get_one(Project, number))
        except Exception as error:
            # Whatever is wrong with one project, the others are to be ready.
            reason = str(error).partition("\n")[0]
            log.warning("project '%s' cannot be indexed: %s: %s", name, type(error).__name__, reason)


def search(corpus: Corpus, text: str, *, k: int, mode: str = "bm25", model: str = "", stock: Models) -> list[Hit]:
    """Return the best documents for what was typed: key, score, snippet; those whose id it is come first.

    Raises:
        Invalid: No such mode, or a dense search without a model.
        NotFound: No such model.
        Unencoded: The model has too many documents to encode first.
    """
    if mode not in MODES:
        raise Invalid(f"there is no mode '{mode}'; use {', '.join(MODES)}")
    if mode != "bm25" and not model:
        raise Invalid(f"mode {mode} needs a model: a run's name, or embedded:all-minilm-l6-v2")
    asked = read_query(text, corpus.names)
    rankings = [corpus.worded(asked, k)] if mode != "dense" else []
    if mode != "bm25" and asked.words:
        encoder = stock.get(model)
        rankings.append(corpus.dense(asked, k, encoder.passages(corpus, most=WAITED_FOR), encoder.typed(asked.words)))
    scores = dict(fuse(rankings, k) if mode == "both" else (rankings[0] if rankings else []))
    first = {key: scores.get(key, 0.0) for key in corpus.called(text)}
    return _shown(corpus, list((first | scores).items())[:k], asked.words)


def like(corpus: Corpus, key: str, *, k: int, model: str = "", stock: Models) -> list[Hit]:
    """Return the documents most like one: by its words (BM25), or by a model's vectors.

    Raises:
        NotFound: No such document, or no such model.
        Unencoded: The model has too many documents to encode first.
    """
    if key not in corpus.texts:
        raise NotFound(f"there is no document '{key}'")
    # Words alone: what looks like an operator in a document is none.
    asked = Asked(" ".join(WORD.findall(composed(corpus.texts[key][:LIKE]))))
    if model:
        vectors = stock.get(model).passages(corpus, most=WAITED_FOR)
        place = list(corpus.texts).index(key)
        found = corpus.dense(asked, k + 1, vectors, vectors[place : place + 1])
    else:
        found = corpus.bm25(asked, k + 1)
    # All its own words match it: that says nothing.
    return _shown(corpus, [hit for hit in found if hit[0] != key][:k], "")


def _shown(corpus: Corpus, found: Sequence[tuple[str, float]], words: str) -> list[Hit]:
    return [{"key": key, "score": score, "snippet": snippet(corpus.texts[key], words)} for key, score in found]
