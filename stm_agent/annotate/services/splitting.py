"""The splits of a project's queries: of a new query, and of all queries when the shares are changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Stale
from stm_agent.annotate.services import projects
from stm_agent.annotate.services.outcome import Graded, graded
from stm_agent.annotate.services.recording import record
from stm_agent.annotate.splits import NEEDED, SPLITS, SplitShares, deal_groups, emptiest
from stm_agent.annotate.tables import Judgement, Project, Query
from stm_agent.domain.collection import Split
from stm_agent.domain.groups import query_groups
from stm_agent.files import sha256_text

MOVED = "query.split"
"""Kind of the changes that new shares make to queries."""


class SplitOverview(TypedDict):
    """The shares, and what the splits hold now; :func:`overview` says more."""

    shares: dict[str, int]
    queries: dict[str, int]
    judged: dict[str, int]
    shared: int
    missing: list[str]


Move = TypedDict("Move", {"from": str, "to": str, "queries": int})
"""How many queries move from one split to another."""


class SplitPlan(TypedDict):
    """What the splits hold with other shares, and what moves."""

    queries: dict[str, int]
    judged: dict[str, int]
    moves: list[Move]


class DealtSplits(SplitPlan):
    """What moved, and the project's new version."""

    version: int


def shares_of(project: Project) -> SplitShares:
    """Return a project's shares."""
    return SplitShares.model_validate(project.splits)


def split_of(session: Session, project: Project, text: str, relevant: Iterable[int] = ()) -> str:
    """Return the split of a new query: that of a query with the same text or relevant document, else the emptiest.

    Args:
        session: The database.
        project: The project.
        text: The query's text.
        relevant: Numbers of the documents that are known to be relevant to it.
    """
    own = select(Query.split).where(Query.project_id == project.id).order_by(Query.id).limit(1)
    shared = select(Judgement.query_id).where(Judgement.document_id.in_(list(relevant)), Judgement.grade > 0)
    known = session.scalar(own.where((Query.text == text) | Query.id.in_(shared)))
    return known or emptiest(_counts(session, project), 1, shares_of(project))


def split_all(
    session: Session, project: Project, texts: Mapping[str, str], fixed: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield key and split of many new queries (key -> text); those of a ``fixed`` split keep it and count in it."""
    shares, counts = shares_of(project), _counts(session, project)
    counts.update(fixed.values())
    rows = select(Query.text, Query.split).where(Query.project_id == project.id).order_by(Query.id.desc())
    known = dict(session.execute(rows).all())
    # The order of a file says nothing of its queries' splits.
    known |= {texts[key]: split for key, split in fixed.items()}
    yield from fixed.items()
    for key in sorted(texts.keys() - fixed.keys(), key=lambda key: sha256_text(f"{shares.seed}:{key}")):
        split = known.get(texts[key]) or emptiest(counts, 1, shares)
        known[texts[key]] = split
        counts[split] += 1
        yield key, split


def _counts(session: Session, project: Project) -> Counter[str]:
    rows = session.execute(
        select(Query.split, func.count()).where(Query.project_id == project.id).group_by(Query.split)
    )
    return Counter({**dict.fromkeys(SPLITS, 0), **dict(rows.all())})


def overview(session: Session, project: Project) -> SplitOverview:
    """Return the shares, and what the splits hold now.

    Returns:
        ``shares``; ``queries`` and ``judged`` (queries with a passage judged relevant, which exports have) by split;
        ``shared``, the number of groups of queries with a text or a relevant passage in common that lie in several
        splits; ``missing``, the splits that ``stm-agent optimize`` needs and no judged query is in.
    """
    told = graded(session, project)
    judged = _judged(told, told.splits)
    return {
        "shares": shares_of(project).model_dump(),
        "queries": _by_split(told.splits.values()),
        "judged": judged,
        "shared": sum(len({told.splits[query] for query in group}) > 1 for group in _groups(told)),
        "missing": [split for split in NEEDED if not judged[split]],
    }


def plan(session: Session, actor: Actor, project: Project, shares: SplitShares) -> SplitPlan:
    """Return what the splits would hold with other shares, and which queries would move: ``from``, ``to``, ``queries``.

    Raises:
        Forbidden: The actor is not an administrator.
    """
    actor.needs("admin")
    told = graded(session, project)
    return _told(told, _dealt(told, shares))


def deal_anew(session: Session, actor: Actor, project: Project, shares: SplitShares, *, version: int) -> DealtSplits:
    """Change a project's shares, move its queries accordingly and return what moved, as :func:`plan` does.

    Raises:
        Forbidden: The actor is not an administrator.
        Stale: Somebody else changed the project since ``version``.
    """
    actor.needs("admin")
    session.refresh(project, with_for_update=True)
    if project.version != version:
        raise Stale(f"project '{project.name}'", projects.view(session, project))
    told = graded(session, project)
    dealt = _dealt(told, shares)
    for query in session.scalars(select(Query).where(Query.project_id == project.id).with_for_update()):
        if query.split != dealt[query.key]:
            record(session, project, actor, MOVED, query.key, {"split": query.split}, {"split": dealt[query.key]})
            query.split = dealt[query.key]
            query.version += 1
    before = project.splits
    project.splits = shares.model_dump()
    project.version += 1
    record(session, project, actor, "project.edit", project.key, {"splits": before}, {"splits": project.splits})
    return {**_told(told, dealt), "version": project.version}


def _groups(told: Graded) -> list[tuple[str, ...]]:
    return query_groups(Split("all", told.queries, told.grades))


def _dealt(told: Graded, shares: SplitShares) -> dict[str, str]:
    """Return the split of every query; what exports have is dealt by itself, so that its shares are right too."""
    relevant = {query for query, grades in told.grades.items() if any(grade > 0 for grade in grades.values())}
    groups = _groups(told)
    judged = [group for group in groups if not relevant.isdisjoint(group)]
    waiting = [group for group in groups if relevant.isdisjoint(group)]
    return deal_groups(judged, told.splits, shares) | deal_groups(waiting, told.splits, shares)


def _told(told: Graded, dealt: Mapping[str, str]) -> SplitPlan:
    moves = Counter((told.splits[query], split) for query, split in dealt.items() if told.splits[query] != split)
    return {
        "queries": _by_split(dealt.values()),
        "judged": _judged(told, dealt),
        "moves": [{"from": old, "to": new, "queries": count} for (old, new), count in sorted(moves.items())],
    }


def _judged(told: Graded, splits: Mapping[str, str]) -> dict[str, int]:
    return _by_split(
        splits[query] for query, grades in told.grades.items() if any(grade > 0 for grade in grades.values())
    )


def _by_split(splits: Iterable[str]) -> dict[str, int]:
    counts = Counter(splits)
    return {split: counts[split] for split in SPLITS}
