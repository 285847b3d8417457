"""Recording and replaying OpenNebula's answers: matched on method and parameters, and free of secrets."""

import re
import xmlrpc.client
from pathlib import Path
from typing import Any

import vcr
from vcr.request import Request


CASSETTES = Path(__file__).parents[2] / "cassettes"
SESSION = "<session>"
PASSWORD = "<password>"
_PASSWORDS = {"one.user.allocate": 1, "one.user.passwd": 1, "one.user.chauth": 2}
"""Which parameter of a method is a password, the session not counted."""
_HIDDEN = re.compile(
    rb"(?<!_admin&lt;/NAME&gt;)(&lt;(PASSWORD|TOKEN_PASSWORD|TOKEN|LOGIN_TOKEN)&gt;)(.*?)(&lt;/\2&gt;)", re.DOTALL
)
"""What is left out of answers: digests too, which weak passwords can be found by. Those of tenants' administrators
stay, since the library goes by them: their passwords are 160 bits of noise."""


def call_of(request: Request) -> tuple[str | None, tuple[Any, ...]]:
    """The method of a request, and its parameters without the session and without passwords."""
    body = request.body
    params, method = xmlrpc.client.loads(body.read() if hasattr(body, "read") else body)
    hidden = _PASSWORDS.get(method or "")
    return method, tuple(PASSWORD if index == hidden else value for index, value in enumerate(params[1:]))


def without_session(request: Request) -> Request:
    """The request with something else in the place of passwords and of the session string, the first parameter."""
    method, params = call_of(request)
    body = xmlrpc.client.dumps((SESSION, *params), method).encode()
    headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
    return Request(request.method, request.uri, body, headers)


def without_secrets(response: dict[str, Any]) -> dict[str, Any]:
    """The response without password hashes, which the pool of users has."""
    response["body"]["string"] = _HIDDEN.sub(rb"\1\4", response["body"]["string"])
    response["headers"].pop("Content-length", None)
    return response


def same_call(one: Request, other: Request) -> None:
    """Match requests by what they call."""
    assert call_of(one) == call_of(other)


def tape(name: str, *, record: bool) -> Any:
    """A cassette as a context: it replays, or it records anew."""
    recorder = vcr.VCR(
        cassette_library_dir=str(CASSETTES),
        record_mode=vcr.mode.ALL if record else vcr.mode.NONE,
        before_record_request=without_session,
        before_record_response=without_secrets,
        decode_compressed_response=True,
    )
    recorder.register_matcher("call", same_call)
    return recorder.use_cassette(name, match_on=["call"])
