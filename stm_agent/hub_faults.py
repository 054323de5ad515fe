"""What the Hub, or the lack of it, says about a repository, as one line with the fix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

Kind = Literal["model", "dataset"]


def hub_fault(error: BaseException, repository: str, kind: Kind) -> str | None:
    """Return why the Hub refuses a repository, and what to do about it; None if something else went wrong.

    Libraries wrap the Hub's own errors, so the whole chain of causes is read.

    Args:
        error: What a library raised.
        repository: ``owner/name``.
        kind: What it holds.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repository}"
    for cause in _chain(error):
        # The datasets library drops the Hub's error and has one class for all of these.
        of_datasets = str(cause) if type(cause).__name__ == "DatasetNotFoundError" else ""
        # A gated repository is a kind of missing one for the library.
        if isinstance(cause, GatedRepoError) or "gated dataset" in of_datasets:
            return f"{kind} {repository} is gated: accept its terms at {page}, then run: hf auth login"
        if isinstance(cause, RevisionNotFoundError) or of_datasets.startswith("Revision"):
            return f"{kind} {repository} has no such revision on the Hub; check the revision at {page}"
        if isinstance(cause, RepositoryNotFoundError) or "doesn't exist on the Hub" in of_datasets:
            return f"{kind} {repository} does not exist on the Hub, or is private: check it, or run: hf auth login"
    return None


def download_line(repository: str, revision: str | None, folder: str, kind: Kind = "dataset") -> str:
    """Return the command that downloads a repository into a folder, in the Hub's layout."""
    pinned = f" --revision {revision}" if revision else ""
    return f"hf download {repository} --repo-type {kind}{pinned} --local-dir {folder}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
