"""`SshKey`: an OpenSSH public key, read strictly enough that nothing else passes for one."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, Self

import attrs

from opennebula_tenancy._wire.template import text_problem
from opennebula_tenancy.errors import SettingsError


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


_LENGTH_BYTES = 4
_ED25519_BYTES = 32
_RSA_BITS = range(1024, 16385)
"""What OpenSSH takes (SSH_RSA_MINIMUM_MODULUS_SIZE, OPENSSL_RSA_MAX_MODULUS_BITS)."""
_UNCOMPRESSED = 4
_COMMENT_MAX = 256
_BLANKS = re.compile(r"[ \t]+")


def _fields(blob: bytes) -> tuple[bytes, ...]:
    """The strings of a key as they go over the wire: each with its length before it (RFC 4251, section 5)."""
    found = []
    while blob:
        length = int.from_bytes(blob[:_LENGTH_BYTES], "big")
        rest = blob[_LENGTH_BYTES:]
        if len(blob) < _LENGTH_BYTES or length > len(rest):
            raise ValueError("the key is cut short")
        found.append(rest[:length])
        blob = rest[length:]
    return tuple(found)


def _number(text: bytes) -> int:
    """A multiple precision integer, which has no needless zeros before it."""
    number = int.from_bytes(text, "big", signed=True)
    if number <= 0 or len(text) != number.bit_length() // 8 + 1:
        raise ValueError("a number in the key is not as numbers are written")
    return number


def _check_rsa(fields: Sequence[bytes]) -> None:
    exponent, modulus = map(_number, fields)
    if exponent < 3 or exponent % 2 == 0:
        raise ValueError("the exponent of the RSA key cannot be")
    if modulus.bit_length() not in _RSA_BITS:
        raise ValueError(f"the RSA key has {modulus.bit_length()} bits, at least {_RSA_BITS[0]} are due")


def _check_ed25519(fields: Sequence[bytes]) -> None:
    if len(fields[0]) != _ED25519_BYTES:
        raise ValueError(f"the key has {len(fields[0])} bytes, {_ED25519_BYTES} are due")


def _check_point(curve: bytes, size_bytes: int) -> Callable[[Sequence[bytes]], None]:
    def check(fields: Sequence[bytes]) -> None:
        if fields[0] != curve:
            raise ValueError("the key names another curve than its type")
        if len(fields[1]) != 1 + 2 * size_bytes or fields[1][0] != _UNCOMPRESSED:
            raise ValueError("the point of the key has another length than its curve's")

    return check


_NISTP256 = _check_point(b"nistp256", 32)
_TYPES: Mapping[str, tuple[int, Callable[[Sequence[bytes]], None]]] = {
    "ssh-ed25519": (1, _check_ed25519),
    "ssh-rsa": (2, _check_rsa),
    "ecdsa-sha2-nistp256": (2, _NISTP256),
    "ecdsa-sha2-nistp384": (2, _check_point(b"nistp384", 48)),
    "ecdsa-sha2-nistp521": (2, _check_point(b"nistp521", 66)),
    "sk-ssh-ed25519@openssh.com": (2, _check_ed25519),
    "sk-ecdsa-sha2-nistp256@openssh.com": (3, _NISTP256),
}
"""The types that OpenSSH still takes: how many fields follow the type's name in the key, and what they must be."""


@attrs.frozen
class SshKey:
    """An OpenSSH public key: one line of an `authorized_keys` file, without options.

    Attributes:
        type: Its type, such as `ssh-ed25519`.
        data: The key itself, in base64.
        comment: What follows it; may be empty.
    """

    type: str
    data: str
    comment: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a key.

        Args:
            text: The key as its `.pub` file has it.

        Returns:
            The key.

        Raises:
            SettingsError: It is none. The message says why, and does not repeat the text: it may be a private one.
        """
        given: Any = text
        if not isinstance(given, str):
            raise SettingsError(f"the key is no text, but {type(given).__name__}")
        if "PRIVATE KEY" in text:
            raise SettingsError("this is a private key: give the public one, and make a new pair")
        line = text.strip()
        if problem := text_problem(line):
            raise SettingsError(f"the key {problem}" if line else "the key is empty")
        if "\n" in line:
            raise SettingsError("this is more than one line: give each key by itself")
        parts = _BLANKS.split(line, maxsplit=2)
        kind, data = parts[0], parts[1] if len(parts) > 1 else ""
        comment = parts[2] if len(parts) > 2 else ""
        if kind not in _TYPES:
            raise SettingsError(f"this does not begin with a type of public keys: {', '.join(_TYPES)}")
        # OpenNebula reads $NAME in a CONTEXT as a variable, and knows no way to write a plain dollar sign.
        if "$" in comment:
            raise SettingsError("the comment of the key has a '$', which OpenNebula takes for a variable")
        if len(comment) > _COMMENT_MAX or not comment.isprintable():
            raise SettingsError(f"the comment of the key is not up to {_COMMENT_MAX} printable characters")
        try:
            _check(kind, data)
        except ValueError as error:
            raise SettingsError(str(error)) from error
        return cls(kind, data, comment)

    def __str__(self) -> str:
        return " ".join(part for part in (self.type, self.data, self.comment) if part)


def _check(kind: str, data: str) -> None:
    """Refuse what is not a key of this type, with a ValueError that says why."""
    try:
        blob = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("what follows the type of the key is not base64") from None
    named, *fields = _fields(blob) or (b"",)
    if named != kind.encode():
        raise ValueError("the key is of another type than it says")
    count, check = _TYPES[kind]
    if len(fields) != count:
        raise ValueError("the key has not the parts that its type has")
    check(fields)
