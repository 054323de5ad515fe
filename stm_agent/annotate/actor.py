"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass

from stm_agent.annotate.faults import Forbidden

ROLES = ("annotator", "reviewer", "admin")


@dataclass(frozen=True)
class Actor:
    """A person as the services see them.

    Attributes:
        id: Row of the person.
        name: Their name.
        role: ``annotator``, ``reviewer`` (also adjudicates and sees everybody's work) or ``admin``.
    """

    id: int
    name: str
    role: str

    def needs(self, role: str) -> None:
        """Require at least this role.

        Raises:
            Forbidden: The person has less.
        """
        if ROLES.index(self.role) < ROLES.index(role):
            raise Forbidden(f"this needs the role {role}; {self.name} is {self.role}")
