"""Where the endpoint and the credentials come from: the same places, in the same order, as OpenNebula's own tools.

The order is that of OpenNebula's Ruby and Go clients (`client.rb`, `client.go`). Note that `ONE_AUTH` is the *path* of
a file, not the credentials themselves.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from opennebula_tenancy.errors import SettingsError


if TYPE_CHECKING:
    from collections.abc import Mapping


log = logging.getLogger("opennebula_tenancy")

DEFAULT_ENDPOINT = "http://localhost:2633/RPC2"
SYSTEM_DIRECTORY = Path("/var/lib/one/.one")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@attrs.frozen
class Credentials:
    """An endpoint and who calls it.

    Attributes:
        endpoint: OpenNebula's XML-RPC URL.
        auth: `user:password` or `user:token`. It is in no repr.
    """

    endpoint: str
    auth: str = attrs.field(repr=False)


def find_credentials(
    endpoint: str | None = None,
    auth: str | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    system_directory: Path = SYSTEM_DIRECTORY,
) -> Credentials:
    """Find the endpoint and the credentials.

    The endpoint is the argument, else `ONE_XMLRPC`, else the file `~/.one/one_endpoint`, else
    `/var/lib/one/.one/one_endpoint`, else `http://localhost:2633/RPC2`. The credentials are the argument, else the
    file that `ONE_AUTH` names, else `~/.one/one_auth`, else `/var/lib/one/.one/one_auth`.

    Args:
        endpoint: The URL, when it is known.
        auth: `user:password` or `user:token`, when it is known.
        environment: The environment to look in, `os.environ` when omitted.
        system_directory: The directory to look in last.

    Returns:
        The endpoint and the credentials.

    Raises:
        SettingsError: The endpoint is no URL, or there are no credentials, or they are no pair, or a file with one of
            them cannot be read; all at once. A file in the system directory that this user may not read is as none.
    """
    environ = os.environ if environment is None else environment
    home = Path(environ.get("HOME") or Path.home()) / ".one"
    problems: list[str] = []
    url = DEFAULT_ENDPOINT
    try:
        found = endpoint or environ.get("ONE_XMLRPC") or _endpoint_from_files(home, system_directory)
        url = (found or DEFAULT_ENDPOINT).strip()
        problem = _url_problem(url)
    except SettingsError as error:
        problem = str(error)
    if problem:
        problems.append(f"endpoint: {problem}")
    elif urlsplit(url).scheme == "http" and urlsplit(url).hostname not in _LOOPBACK:
        log.warning("the endpoint %s is not encrypted: passwords cross the network as they are", url)
    session = None if auth is None else auth.strip()
    if session is None:
        session = _auth_from_files(environ, home, system_directory, problems)
    if session is not None and not all(session.partition(":")):
        problems.append("auth: credentials are user:password or user:token")
    if problems or session is None:
        raise SettingsError(*problems)
    return Credentials(url, session)


def _url_problem(url: str) -> str | None:
    if "@" in url:
        return "a URL with credentials in it is shown where they must not be; give them as auth"
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    return None if whole else f"{url!r} is no http or https URL"


def _endpoint_from_files(home: Path, system_directory: Path) -> str | None:
    return _first_line(home / "one_endpoint") or _first_line(system_directory / "one_endpoint", optional=True)


def _auth_from_files(environ: Mapping[str, str], home: Path, system_directory: Path, problems: list[str]) -> str | None:
    named = environ.get("ONE_AUTH")
    candidates = [Path(named)] if named else [home / "one_auth", system_directory / "one_auth"]
    for path in candidates:
        try:
            line = _first_line(path, optional=path.parent == system_directory and not named)
        except SettingsError as error:
            problems.append(f"auth: {error}")
            return None
        if line:
            if path.stat().st_mode & 0o077:
                log.warning("%s holds credentials and can be read by others: chmod 600 %s", path, path)
            return line
    looked = " or ".join(str(path) for path in candidates)
    hint = " (ONE_AUTH is the path of a file)" if named else ""
    problems.append(f"auth: no credentials in {looked}{hint}; name a file with user:password in ONE_AUTH, or give auth")
    return None


def _first_line(path: Path, *, optional: bool = False) -> str | None:
    """The first line of a file that says something.

    Args:
        path: The file.
        optional: Whether one that this user may not read is as none. One that he may not even see always is, as for
            OpenNebula's own client (`File.file?`).

    Raises:
        SettingsError: The file is there, and cannot be read.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file() raises where one may not look
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text") from None
    except OSError as error:
        if optional:
            return None
        raise SettingsError(f"{path}: {error.strerror}") from None
    return text.strip().splitlines()[0].strip() if text.strip() else None
