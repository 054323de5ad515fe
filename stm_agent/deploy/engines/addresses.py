"""Addresses of vector stores without their passwords: what is printed, stored in a report, or part of an error."""

from __future__ import annotations

import re
from urllib.parse import unquote

from stm_agent.errors import ConfigError

HIDDEN = "***"
SHORTEST = 3
"""Fewest characters of a secret that is removed from the text of an error."""
_KEYWORDS = r"password|passwd|pwd|sslpassword|secret|token|access_token|api[_-]?key|key"
_PARAMETER = re.compile(rf"([?&;](?:{_KEYWORDS})=)([^&;#]*)", re.IGNORECASE)
_KEYWORD = re.compile(rf"(\b(?:{_KEYWORDS})\s*=\s*)('(?:\\.|[^'\\])*'?|(?:\\.|\S)+)", re.IGNORECASE)
_AUTHORITY = re.compile(r"^(\w[\w+.-]*://|(?=[^/:@\s]+:))(?!\w+\s*=)(.*)@", re.DOTALL)
"""User and password: up to the last ``@``, since a password that was not encoded may hold any character.

Without a scheme, what begins with ``user:``; anything else is a folder.
"""


def redacted(address: str) -> str:
    """Return an address without user, password and keys; also if it is not a valid one."""
    plain = _KEYWORD.sub(rf"\1{HIDDEN}", address) if "://" not in address else address
    return _PARAMETER.sub(rf"\1{HIDDEN}", _AUTHORITY.sub(r"\1", plain))


def without_secrets(text: str, address: str) -> str:
    """Return the text of an error without the secrets of the address that it is about."""
    clean = text.replace(address, redacted(address)) if address else text
    for secret in sorted(_secrets(address), key=len, reverse=True):
        clean = clean.replace(secret, HIDDEN)
    return clean


def check_address(address: str, variable: str) -> None:
    """Require that an address can be read in one way.

    A client would take a part of a password with an unencoded ``/`` or ``@`` for a host, and name it in its errors.

    Raises:
        ConfigError: Its password has to be encoded.
    """
    authority, slash, rest = address.partition("://")[2].partition("/")
    if authority.count("@") > 1 or (slash and "@" not in authority and "@" in rest.partition("?")[0]):
        raise ConfigError(
            f"--url {redacted(address)} has a user or password with special characters; write / as %2F and @ as %40, "
            f"or give the password in {variable}"
        )


def _secrets(address: str) -> set[str]:
    found = [match[2] for match in _PARAMETER.finditer(address)]
    if "://" not in address:
        found += [match[2].strip("'") for match in _KEYWORD.finditer(address)]
    if match := _AUTHORITY.match(address):
        found += [match[2], match[2].partition(":")[2]]
    return {form for secret in found for form in (secret, unquote(secret)) if len(form) >= SHORTEST}
