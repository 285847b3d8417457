"""Recording and replaying OpenNebula's answers: matched on method and parameters, and free of secrets."""

import re
import xmlrpc.client
from pathlib import Path
from typing import Any

import vcr
from vcr.request import Request


CASSETTES = Path(__file__).parents[2] / "cassettes"
SESSION = "<session>"
_HIDDEN = re.compile(rb"(&lt;(PASSWORD|TOKEN_PASSWORD|TOKEN|LOGIN_TOKEN)&gt;)(.*?)(&lt;/\2&gt;)", re.DOTALL)


def call_of(request: Request) -> tuple[str | None, tuple[Any, ...]]:
    """The method of a request, and its parameters without the session."""
    body = request.body
    params, method = xmlrpc.client.loads(body.read() if hasattr(body, "read") else body)
    return method, params[1:]


def without_session(request: Request) -> Request:
    """The request with something else in the place of the session string, which is the first parameter."""
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
