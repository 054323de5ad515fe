"""A project's ceilings of LLM calls and dollars, for everybody but administrators: counted before a call is made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from stm_agent.annotate.actor import Actor
from stm_agent.annotate.faults import Forbidden, Invalid
from stm_agent.annotate.people_tables import Person
from stm_agent.annotate.tables import Draft, Project

if TYPE_CHECKING:
    from stm_agent.llm.client import LlmClient

RAISE = "an administrator can raise it in the project's settings"


@dataclass(frozen=True)
class Spending:
    """Calls and US dollars."""

    calls: int = 0
    usd: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        """Return both together."""
        return Spending(self.calls + other.calls, self.usd + other.usd)

    def __sub__(self, other: Spending) -> Spending:
        """Return the rest without the other."""
        return Spending(self.calls - other.calls, self.usd - other.usd)


def spent(session: Session, project: Project) -> Spending:
    """Return what people who are not administrators have spent in a project, by its drafts."""
    own = (Draft.project_id == project.id, Person.name == Draft.asked_by, Person.role != "admin")
    calls, usd = session.execute(select(func.count(), func.sum(Draft.usd)).where(*own)).one()
    return Spending(calls, usd or 0.0)


def highest_usd(door: LlmClient, chat: list[dict[str, str]], max_tokens: int) -> float | None:
    """Return the most that a call can cost in US dollars; None if nobody knows the price of the model."""
    from stm_agent.llm.tokens import chat_tokens

    if not door.facts.priced:
        return None
    return door.facts.cost(chat_tokens(chat), max_tokens + door.facts.headroom) or 0.0


def partial_usd(door: LlmClient, chat: list[dict[str, str]], text: str) -> float | None:
    """Return the estimated cost in US dollars of a call that was left once ``text`` had come; None if it is unknown."""
    from stm_agent.llm.tokens import chat_tokens, rough_tokens

    return door.facts.cost(chat_tokens(chat), rough_tokens(text) if text else 0)


class Ceilings:
    """Calls that are being made now, by project; those that were made are in the database."""

    def __init__(self) -> None:
        """Begin with none."""
        self._pending: dict[str, Spending] = {}
        self._lock = threading.Lock()

    def left(self, session: Session, actor: Actor, project: Project) -> int | None:
        """Return how many calls a person may still begin in a project; None if they have no ceiling."""
        if actor.role == "admin" or project.llm_calls is None:
            return None
        with self._lock:
            used = spent(session, project) + self._pending.get(project.key, Spending())
        return max(project.llm_calls - used.calls, 0)

    def check(self, session: Session, actor: Actor, project: Project, calls: int, model: str) -> None:
        """Require that so many calls are left.

        Raises:
            Forbidden: They would pass the ceiling.
        """
        left = self.left(session, actor, project)
        if left is not None and calls > left:
            raise Forbidden(
                f"this needs {calls:,} calls of {model}, and {left:,} of the project's {project.llm_calls:,} are left; "
                f"{RAISE}"
            )

    @contextmanager
    def call(
        self, session: Session, actor: Actor, project: Project, model: str, highest: Callable[[], float | None]
    ) -> Iterator[None]:
        """Count one call from before it is made until it is recorded, when the block ends.

        Args:
            session: The database, read before the call.
            actor: Who makes it.
            project: In which project.
            model: Which model is called.
            highest: Returns the most that the call can cost in US dollars, None if nobody knows; asked only if the
                project has a ceiling of dollars.

        Raises:
            Forbidden: It would pass a ceiling, or dollars are limited and the price is unknown.
        """
        if actor.role == "admin":
            yield
            return
        usd = highest() if project.llm_usd is not None else 0.0
        key, one = project.key, Spending(1, usd or 0.0)
        with self._lock:
            used = spent(session, project) + self._pending.get(key, Spending())
            _check(project, used + one, model, usd)
            self._pending[key] = self._pending.get(key, Spending()) + one
        try:
            yield
        finally:
            with self._lock:
                self._pending[key] -= one


def _check(project: Project, total: Spending, model: str, usd: float | None) -> None:
    if project.llm_calls is not None and total.calls > project.llm_calls:
        raise Forbidden(f"the project's {project.llm_calls:,} LLM calls are used up; {RAISE}")
    if project.llm_usd is None:
        return
    if usd is None:
        raise Forbidden(
            f"the price of {model} is unknown and this project has a ceiling of {project.llm_usd:g} USD; {RAISE}"
        )
    if total.usd > project.llm_usd:
        raise Forbidden(f"this call could pass the project's ceiling of {project.llm_usd:g} USD; {RAISE}")


def check_ceilings(changes: Mapping[str, object]) -> None:
    """Require ceilings that can be kept.

    Raises:
        Invalid: One is not a number, or below 0.
    """
    calls, usd = changes.get("llm_calls"), changes.get("llm_usd")
    if calls is not None and (not isinstance(calls, int) or isinstance(calls, bool) or not 0 <= calls < 2**31):
        raise Invalid("the ceiling of LLM calls is a whole number from 0, or null for none")
    if usd is not None and (not isinstance(usd, int | float) or isinstance(usd, bool) or not 0 <= usd < 1e9):
        raise Invalid("the ceiling of dollars is a number from 0, or null for none")
