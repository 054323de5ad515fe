"""One connection to the API: who asks, and what its errors become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, TypeAlias, TypedDict, Unpack
from urllib.parse import quote

from stm_agent.annotate.faults import (
    AnnotateError,
    Forbidden,
    Invalid,
    NotFound,
    Stale,
    Taken,
    TooMany,
    Unauthorised,
    Unencoded,
)

if TYPE_CHECKING:
    import httpx

FAULTS: dict[int, type[AnnotateError]] = {
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Taken,
    422: Invalid,
    429: TooMany,
}
Row: TypeAlias = dict[str, Any]
"""One object as the API returns it."""


class Sent(TypedDict, total=False):
    """What goes with a request: a body, or files, and what stands behind the path."""

    json: object
    files: Mapping[str, tuple[str, IO[bytes]]]
    params: Row


def part(name: str) -> str:
    """Return a key as a part of an address."""
    return quote(name, safe="")


class Connection:
    """Asks the API, logs in again when the login is too old, and raises what went wrong."""

    def __init__(
        self, url: str, *, token: str | None = None, name: str | None = None, password: str | None = None
    ) -> None:
        """Connect.

        Args:
            url: Address of the tool, for example ``http://127.0.0.1:8321``.
            token: The token that ``stm-agent annotate`` printed, or a personal API token.
            name: With ``password``, logs in.
            password: The password.
        """
        import httpx

        self._http = httpx.Client(base_url=f"{url.rstrip('/')}/api/v1", timeout=120)
        self._refresh: str | None = None
        if token is not None:
            self._http.headers["authorization"] = f"Bearer {token}"
        elif name is not None:
            self._keep(self._ask("POST", "/login", json={"name": name, "password": password}))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._http.close()

    def _keep(self, told: Row) -> None:
        self._refresh = told["refresh_token"]
        self._http.headers["authorization"] = f"Bearer {told['access_token']}"

    def _renewed(self, answer: httpx.Response) -> bool:
        """Return whether the login was too old and is new again."""
        if answer.status_code != 401 or self._refresh is None:
            return False
        token, self._refresh = self._refresh, None
        told = self._http.post("/refresh", json={"refresh_token": token})
        if told.is_success:
            self._keep(told.json())
        return told.is_success

    def _send(self, method: str, path: str, **more: Unpack[Sent]) -> httpx.Response:
        answer = self._http.request(method, path, **more)
        if self._renewed(answer):
            answer = self._http.request(method, path, **more)
        if not answer.is_success:
            _raise(answer)
        return answer

    def _lines(self, method: str, path: str, **more: Unpack[Sent]) -> Iterator[str]:
        """Yield the lines of an answer as they come."""
        with self._http.stream(method, path, **more) as answer:
            if answer.is_success:
                yield from _lines_of(answer.iter_text())
                return
            answer.read()
        if not self._renewed(answer):
            _raise(answer)
        yield from self._lines(method, path, **more)

    def _ask(self, method: str, path: str, **more: Unpack[Sent]) -> Any:  # noqa: ANN401 - JSON
        answer = self._send(method, path, **more)
        return answer.json() if answer.content else None


def _lines_of(pieces: Iterable[str]) -> Iterator[str]:
    """Yield lines that end with a newline; httpx's own lines also end at U+2028, which a passage may hold."""
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + piece).split("\n")
        yield from lines
    if rest:
        yield rest


def _raise(answer: httpx.Response) -> None:
    try:
        told = answer.json()
    except ValueError:
        told = {}
    title = str(told.get("title", f"the server answered {answer.status_code}"))
    if "current" in told:
        raise Stale(title.partition(" was changed")[0], told["current"])
    if "unencoded" in told:
        raise Unencoded(title, told["unencoded"])
    if answer.status_code == TooMany.status and (wait := answer.headers.get("retry-after", "")).isdigit():
        raise TooMany(title, int(wait))
    raise FAULTS.get(answer.status_code, AnnotateError)(title)
