"""The one secret of an installation: made at random when it first starts, or given by the environment."""

from __future__ import annotations

import os
from pathlib import Path

from stm_agent.annotate.faults import Invalid
from stm_agent.errors import ConfigError

VARIABLE = "STM_AGENT_ANNOTATE_SECRET"


class Vault:
    """Encrypts what is stored of LLM keys (Fernet: AES-128 in CBC mode with HMAC-SHA256)."""

    def __init__(self, secret: bytes) -> None:
        """Take a Fernet key.

        Raises:
            ConfigError: It is none.
        """
        from cryptography.fernet import Fernet

        try:
            self._fernet = Fernet(secret)
        except ValueError as error:
            raise ConfigError(
                f"the secret is not a Fernet key (32 bytes in base64); unset {VARIABLE} to make one"
            ) from error

    def lock(self, text: str) -> str:
        """Return a text encrypted."""
        return self._fernet.encrypt(text.encode()).decode()

    def unlock(self, stored: str) -> str:
        """Return a text that was locked with the same secret.

        Raises:
            Invalid: It was locked with another one.
        """
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(stored.encode()).decode()
        except InvalidToken as error:
            raise Invalid("a stored LLM key was encrypted with another secret; enter the key again") from error


def open_vault(folder: Path) -> Vault:
    """Return the vault of the environment's secret, or of a folder's, which is made with mode 0600 if need be."""
    from cryptography.fernet import Fernet

    if given := os.environ.get(VARIABLE):
        return Vault(given.encode())
    path = folder / "secret.key"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return Vault(path.read_bytes().strip())
    with os.fdopen(descriptor, "wb") as stream:
        secret = Fernet.generate_key()
        stream.write(secret)
    return Vault(secret)
