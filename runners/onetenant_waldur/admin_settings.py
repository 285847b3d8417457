"""Where the passwords of tenants' administrators come from, as a settings file says it.

The file names where the secret is, and never holds it. Nothing here quotes what it says either: somebody may have
written the secret itself where its place was due.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from opennebula_tenancy import CredentialSource, SettingsError


FILE, VARIABLE = "admin_secret_file", "admin_secret_env"
LEGACY_ATTRIBUTE = "WALDUR_PASSWORD"
"""Where the plugin that many sites run today keeps the password, in plain text, in the template of the user."""
_MAX_BYTES = 65536


def read_source(document: Mapping[str, Any], problems: list[str]) -> CredentialSource:
    """Read the secret that passwords are derived from.

    Args:
        document: The settings file, whose own values are checked elsewhere.
        problems: Where to add one sentence for each thing that cannot be, beginning with its key.

    Returns:
        The source. Its passwords are random when no secret is named.
    """
    secret: bytes | None = None
    file, variable = _named(document, FILE), _named(document, VARIABLE)
    key = FILE if file else VARIABLE
    if file and variable:
        problems.append(f"{FILE}, {VARIABLE}: both are set; say one place where the secret is")
    elif file:
        secret = _of_file(file, problems)
    elif variable:
        text = os.environ.get(variable)
        if text is None:
            problems.append(f"{VARIABLE}: there is no environment variable of that name")
        else:
            secret = os.fsencode(text).strip()
    try:
        return CredentialSource(secret=secret, legacy_attribute=LEGACY_ATTRIBUTE)
    except SettingsError as error:
        problems.extend(f"{key}: {problem}" for problem in error.problems)
        return CredentialSource(legacy_attribute=LEGACY_ATTRIBUTE)


def _named(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    return value if isinstance(value, str) else None


def _of_file(file: str, problems: list[str]) -> bytes | None:
    try:
        path = Path(file).expanduser()
        if not path.is_file():
            problems.append(f"{FILE}: there is no such file")
            return None
        with path.open("rb") as stream:
            secret = stream.read(_MAX_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not the path of a file"
        problems.append(f"{FILE}: {reason}")
        return None
    if len(secret) > _MAX_BYTES:
        problems.append(f"{FILE}: more than {_MAX_BYTES} bytes; is that the file that is meant?")
        return None
    # Editors and `echo` end a file with a line end, which is no part of what was meant.
    return secret.strip()


def remarks(document: Mapping[str, Any], source: CredentialSource, *, accounts: bool) -> Iterator[str]:
    """What the operator should know about the secret.

    Args:
        document: The settings file.
        source: What was read.
        accounts: Whether any offering makes accounts.
    """
    if accounts and source.secret is None:
        yield (
            f"create_opennebula_user without {FILE} or {VARIABLE}: passwords are random, are handed to Waldur once, "
            "and cannot be shown again; where several agents serve one offering, name a secret that they share, or one "
            "that is killed may leave a password that Waldur does not show"
        )
    file = _named(document, FILE)
    if file and source.secret is not None and Path(file).expanduser().stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield f"{FILE}: others can read the file; chmod 600 keeps it to its owner"


def texts(source: CredentialSource) -> Iterator[str]:
    """The secret as a text that must not appear anywhere, where it is one."""
    if source.secret is not None:
        yield source.secret.decode(errors="replace")
