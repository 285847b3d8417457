"""An option to record the cassettes of this folder anew from a live server."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-cassettes", action="store_true", help="record from the server that ONE_XMLRPC and ONE_AUTH name"
    )
