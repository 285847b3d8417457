"""`Credentials` of an administrator's account, and `CredentialSource`: where its password comes from.

A password that is derived is the same after every restart and is stored nowhere: it is an HMAC of a secret that only
the caller has. Without a secret it is random, and known to nobody but who was given it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING

import attrs

from opennebula_tenancy.errors import SettingsError, TenancyError


if TYPE_CHECKING:
    from collections.abc import Iterator


_PURPOSE = "opennebula-tenancy administrator password 1"
"""What the HMAC is made for. Never to change: every password that was shown would become another one."""
_PASSWORD_BYTES = 20
"""160 bits: 32 characters of base32, and no digest of them can be guessed from."""
_SECRET_MIN_BYTES = 16
_ATTRIBUTE = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_OURS = "TENANCY_"
_ONED = "TOKEN_PASSWORD"
"""What oned itself keeps in a user's template."""


@attrs.frozen
class Credentials:
    """What a person logs in with.

    Attributes:
        username: The name of the user.
        password: The password. It is in no repr.
    """

    username: str
    password: str = attrs.field(repr=False)

    @property
    def auth(self) -> str:
        """Both in one text, as `connect` and the tools of OpenNebula take them: user, colon, password."""
        return f"{self.username}:{self.password}"


class ResetIncomplete(TenancyError):
    """A password was reset, and what should have followed that failed: the new one is what OpenNebula takes.

    Attributes:
        credentials: The new credentials. They are in no text of the error.
        cause: What failed afterwards.
    """

    def __init__(self, credentials: Credentials, cause: TenancyError) -> None:
        self.credentials = credentials
        self.cause = cause
        super().__init__(f"the password of {credentials.username} was reset, and then: {cause}")


@attrs.frozen(kw_only=True)
class CredentialSource:
    """Where the passwords of administrators come from.

    Attributes:
        secret: What passwords are derived from, 16 bytes or more that cannot be guessed, the same at every start. It
            is in no repr. Passwords are random when None.
        legacy_attribute: The name of an attribute that another tool kept the password in, in plain text, in the
            template of the user. It is understood, and removed when the password is reset.

    Raises:
        SettingsError: A value cannot be; all problems at once.
    """

    secret: bytes | None = attrs.field(default=None, repr=False)
    legacy_attribute: str | None = None

    def __attrs_post_init__(self) -> None:
        problems = list(_secret_problems(self.secret))
        name = self.legacy_attribute
        if name is not None and (not _ATTRIBUTE.match(name) or name.startswith(_OURS) or name == _ONED):
            problems.append(f"legacy_attribute: {name!r} is not the name of an attribute that another tool writes")
        if problems:
            raise SettingsError(*problems)

    def derived(self, key: str, user_id: int, name: str, generation: int) -> str | None:
        """The password of an account, None without a secret.

        It depends on the key and not on the endpoint, which may move: two clouds that give the same id and name have
        different passwords.

        Args:
            key: The tenant's key.
            user_id: The id of the user, which OpenNebula never gives again.
            name: The name of the user.
            generation: How often the password was set, from 1.

        Returns:
            32 lower case letters and digits.
        """
        if self.secret is None:
            return None
        # None of the fields can hold a NUL, so that no two of them read as one other.
        message = "\0".join((_PURPOSE, key, str(user_id), name, str(generation)))
        return _text(hmac.digest(self.secret, message.encode(), hashlib.sha256))

    def new(self, key: str, user_id: int, name: str, generation: int) -> str:
        """The password to set: derived, or random without a secret. Arguments as for `derived`."""
        return self.derived(key, user_id, name, generation) or random_password()


def _secret_problems(secret: object) -> Iterator[str]:
    if secret is None:
        return
    if not isinstance(secret, bytes):
        yield f"secret: it is {type(secret).__name__}, and bytes are due"
    elif len(secret) < _SECRET_MIN_BYTES:
        yield f"secret: it has {len(secret)} bytes, and fewer than {_SECRET_MIN_BYTES} can be guessed"


def random_password() -> str:
    """A password that nobody knows."""
    return _text(secrets.token_bytes(_PASSWORD_BYTES))


def _text(noise: bytes) -> str:
    return base64.b32encode(noise[:_PASSWORD_BYTES]).decode("ascii").lower()
