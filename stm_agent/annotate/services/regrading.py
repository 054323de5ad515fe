"""Grades and a changed schema: they follow their level's score, and a level that has some is not lost unnoticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sqlalchemy import case, func, select, update
from sqlalchemy.orm import Session

from stm_agent.annotate.faults import Invalid, Unplaced, UnplacedGrade
from stm_agent.annotate.schema import ProjectSchema
from stm_agent.annotate.tables import Adjudication, Judgement, LlmGrade, Project, Query

GRADED = (Judgement, Adjudication, LlmGrade)


def read_grades(value: object) -> dict[int, int]:
    """Return where grades are to go, as a request says it: ``{"3": 2}``.

    Raises:
        Invalid: It says something else.
    """
    try:
        if isinstance(value, dict):
            return {int(old): int(new) for old, new in value.items()}
    except (TypeError, ValueError):
        pass
    raise Invalid('grades say where judgements go, old grade to new: {"3": 2}')


def regrade(
    session: Session, project: Project, old: ProjectSchema, new: ProjectSchema, asked: Mapping[int, int]
) -> int:
    """Move people's, settled and the LLM's grades to the scores their levels have now; return how many moved.

    Args:
        session: The database.
        project: The project.
        old: Its schema as it was.
        new: Its schema as it is.
        asked: Old grade -> new grade, where the levels do not say it, or it is to be another.

    Raises:
        Invalid: A grade is asked to go where there is none.
        Unplaced: A grade that was given would have no level, one of two, or be one with another grade.
    """
    if old.levels == new.levels and not asked:
        return 0
    given = _given(session, project)
    scores = {level.score for level in new.levels}
    if wrong := sorted(set(asked.values()) - scores):
        raise Invalid(f"there is no grade {wrong[0]} to move judgements to; use {', '.join(map(str, sorted(scores)))}")
    goals = _goals(old, new, given, asked)
    moves = {grade: goal for grade, goal in goals.items() if grade != goal}
    for grade in moves:
        _check_apart(old, grade, given[grade], goals, asked)
    if moves:
        _move(session, project, moves)
    return sum(given[grade] for grade in moves)


def _check_apart(
    old: ProjectSchema, grade: int, count: int, goals: Mapping[int, int], asked: Mapping[int, int]
) -> None:
    """Check that a grade that moves does not become one with another, unless somebody asked for that."""
    goal = goals[grade]
    others = [one for one in goals if goals[one] == goal and one != grade and not {one, grade} & asked.keys()]
    if others:
        reason = f"grades {others[0]} and {grade} would both be {goal}; {_how(grade, goal)}"
        raise Unplaced(reason, [_row(old, grade, count, goal)])


def _given(session: Session, project: Project) -> Counter[int]:
    """Return how often each grade was given."""
    found: Counter[int] = Counter()
    for table in GRADED:
        counted = select(table.grade, func.count()).join(Query, Query.id == table.query_id)
        for grade, count in session.execute(counted.where(Query.project_id == project.id).group_by(table.grade)):
            found[grade] += count
    return found


def _goals(
    old: ProjectSchema, new: ProjectSchema, given: Mapping[int, int], asked: Mapping[int, int]
) -> dict[int, int]:
    """Return the new grade of each given grade; all that have none are reported together."""
    goals = {}
    unplaced = []
    for grade in sorted(given):
        try:
            goals[grade] = asked[grade] if grade in asked else _next(old, new, grade, given[grade])
        except Unplaced as error:
            unplaced.append(error)
    if unplaced:
        raise Unplaced(str(unplaced[0]), [row for error in unplaced for row in error.unplaced])
    return goals


def _next(old: ProjectSchema, new: ProjectSchema, grade: int, count: int) -> int:
    now = {level.id: level.score for level in new.levels}
    names = [level.name for level in old.levels if level.score == grade]
    goals = {now[level.id] for level in old.levels if level.score == grade and level.id in now}
    if not goals and (not names or grade in now.values()):
        return grade
    if len(goals) == 1:
        return goals.pop()
    why = "would belong to no level" if not goals else f"would be {' or '.join(map(str, sorted(goals)))}"
    nearest = min(goals or now.values(), key=lambda score: abs(score - grade), default=grade)
    told = f"{count} judgements of grade {grade} ('{names[0]}') {why}; {_how(grade, nearest)}"
    raise Unplaced(told, [_row(old, grade, count, nearest)])


def _row(old: ProjectSchema, grade: int, count: int, goal: int) -> UnplacedGrade:
    name = next((level.name for level in old.levels if level.score == grade), str(grade))
    return {"grade": grade, "name": name, "count": count, "goal": goal}


def _how(grade: int, goal: int) -> str:
    return f'keep the levels apart, or choose where their grades go with "grades": {{"{grade}": {goal}}}'


def _move(session: Session, project: Project, moves: Mapping[int, int]) -> None:
    own = select(Query.id).where(Query.project_id == project.id)
    for table in GRADED:
        values: dict[str, object] = {"grade": case(dict(moves), value=table.grade)}
        # Who has the old grade open must not save over it; nobody said anything new, so its moment stays.
        if table is Judgement:
            values |= {"version": Judgement.version + 1, "updated_at": Judgement.updated_at}
        elif table is Adjudication:
            values |= {"version": Adjudication.version + 1, "updated_at": Adjudication.updated_at}
        rows = update(table).where(table.query_id.in_(own), table.grade.in_(moves)).values(values)
        session.execute(rows.execution_options(synchronize_session=False))
    first = update(Judgement).where(Judgement.query_id.in_(own), Judgement.first_grade.in_(moves))
    moved = {"first_grade": case(dict(moves), value=Judgement.first_grade), "updated_at": Judgement.updated_at}
    session.execute(first.values(moved).execution_options(synchronize_session=False))
    session.expire_all()
