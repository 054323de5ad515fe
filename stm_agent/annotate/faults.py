"""What the annotation tool refuses, each with its HTTP status; the pages and the API show the same words."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import TypedDict

from stm_agent.errors import StmAgentError


class AnnotateError(StmAgentError):
    """Base of the tool's errors."""

    status = 400


class Invalid(AnnotateError):
    """Raised when a value cannot be used as given."""

    status = 422


class UnplacedGrade(TypedDict):
    """A grade without one place: its level's ``name``, ``count`` judgements, and the ``goal`` nearest to it."""

    grade: int
    name: str
    count: int
    goal: int


class Unplaced(Invalid):
    """Raised when grades that were given have no one place in changed levels.

    Attributes:
        unplaced: Each such grade.
    """

    def __init__(self, message: str, unplaced: list[UnplacedGrade]) -> None:
        """Say the first of them, keep all."""
        super().__init__(message)
        self.unplaced = unplaced


class Unauthorised(AnnotateError):
    """Raised when nobody known asks: no token, a wrong or an expired one."""

    status = 401


class Forbidden(AnnotateError):
    """Raised when somebody asks for what is not theirs."""

    status = 403


class Forged(Forbidden):
    """Raised when a browser sends a request that the tool's own page did not ask for, or asked for before a login."""


class NotFound(AnnotateError):
    """Raised when something does not exist, or is in a project that the person is not a member of."""

    status = 404


class Taken(AnnotateError):
    """Raised when a name or key is there already."""

    status = 409


class EncodedShare(TypedDict):
    """How many of a project's ``documents`` a ``model`` has ``encoded``."""

    model: str
    encoded: int
    documents: int


class Unencoded(AnnotateError):
    """Raised when a search by meaning would have to wait until a model has encoded many documents.

    Attributes:
        unencoded: The model, and how much it has encoded.
    """

    status = 409

    def __init__(self, message: str, unencoded: EncodedShare) -> None:
        """Say what to do, keep the numbers."""
        super().__init__(message)
        self.unencoded = unencoded


class TooMany(AnnotateError):
    """Raised when somebody tries too often.

    Attributes:
        wait: Seconds after which another try is worth it.
    """

    status = 429

    def __init__(self, message: str, wait: int = 30) -> None:
        """Say what is too much, and for how long."""
        super().__init__(message)
        self.wait = wait


class Stale(AnnotateError):
    """Raised when somebody else saved in between.

    Attributes:
        current: What is stored now, with its version, so that nothing is lost silently.
    """

    status = 409

    def __init__(self, what: str, current: Mapping[str, object]) -> None:
        """Say what changed."""
        super().__init__(
            f"{what} was changed by somebody else in the meantime; look at the stored version and save again"
        )
        self.current = current
