"""The Flask application: routes, tokens, and answers as Django REST framework shapes them."""

import functools
import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flask
from werkzeug.exceptions import NotFound

from onetenant_waldur.marketplace import offerings, orders, providers, refusals, resources, usages, users
from onetenant_waldur.marketplace.endpoints import ACTION, Call, Reply, Route
from onetenant_waldur.marketplace.records import User
from onetenant_waldur.marketplace.state import State


ROUTES: tuple[Route, ...] = (
    *users.ROUTES,
    *offerings.ROUTES,
    *providers.ROUTES,
    *orders.ROUTES,
    *resources.ROUTES,
    *usages.ROUTES,
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
HTML = "text/html; charset=utf-8"
_STATE = "onetenant_waldur.marketplace.state"
"""Where a request has the state that it is about."""


def _page(title: str, text: str) -> str:
    """Django's bare page for what never reached Django REST framework."""
    head = f'\n<!doctype html>\n<html lang="en">\n<head>\n  <title>{title}</title>\n</head>\n'
    return f"{head}<body>\n  <h1>{title}</h1><p>{text}</p>\n</body>\n</html>\n"


def create_app(state: State) -> WSGIApplication:
    """An application that answers from and writes to a state."""
    app = _routed()

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return app(environ | {_STATE: state}, start_response)

    return answer


@functools.cache
def _routed() -> flask.Flask:
    """The routes, made once for all states: to compile them takes longer than to answer from them."""
    app = flask.Flask("onetenant_waldur.marketplace", static_folder=None)
    app.url_map.strict_slashes = True
    for route in ROUTES:
        app.add_url_rule(
            f"/api/{route.path}",
            endpoint=route.path,
            view_func=_view(route),
            methods=METHODS,
            provide_automatic_options=False,
        )
    app.register_error_handler(NotFound, _no_page)
    return app


def _no_page(_error: NotFound) -> flask.Response:
    text = "The requested resource was not found on this server."
    return flask.Response(_page("Not Found", text), 404, content_type=HTML)


def _view(route: Route) -> Callable[..., flask.Response]:
    def view(**parts: str) -> flask.Response:
        state: State = flask.request.environ[_STATE]
        # One request at a time, as if each were a transaction.
        with state.lock:
            try:
                reply = _serve(state, route, parts)
            except refusals.ServerError:
                return flask.Response(_page("Server Error (500)", ""), 500, content_type=HTML)
            except refusals.Refusal as refusal:
                reply = Reply(refusal.body, refusal.status, refusal.headers)
            return _respond(_as_its_age_has_it(state, route, reply), route)

    return view


def _serve(state: State, route: Route, parts: dict[str, str]) -> Reply:
    request = flask.request
    user = _authenticate(state, request.headers.get("Authorization", ""))
    call = Call(state, user, f"{request.host_url}api/", request.url, request.args, request.get_data())
    return route.view(request.method)(call, **parts)


def _authenticate(state: State, header: str) -> User:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "token":
        raise refusals.unauthenticated("Authentication credentials were not provided.")
    for user in state.users:
        if user.token == token.strip():
            return user
    raise refusals.unauthenticated("Invalid token.")


def _as_its_age_has_it(state: State, route: Route, reply: Reply) -> Reply:
    """The answer as a server of the age that is asked for has it."""
    behaviour = state.behaviour
    done = (
        route.allow == ACTION and not route.path.startswith("marketplace-resources/") and reply.status == HTTPStatus.OK
    )
    empty = (behaviour.empty_actions and done) or (behaviour.empty_conflicts and reply.status == HTTPStatus.CONFLICT)
    return Reply(None, reply.status, reply.headers) if empty else reply


def _respond(reply: Reply, route: Route) -> flask.Response:
    response = flask.Response(status=reply.status, headers={"Allow": route.allow, **reply.headers})
    del response.headers["Content-Type"]
    if reply.body is not None:
        response.set_data(json.dumps(reply.body, ensure_ascii=False, separators=(",", ":")).encode())
        response.headers["Content-Type"] = "application/json"
    return response
