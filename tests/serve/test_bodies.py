import asyncio

import numpy as np
import pytest
from fastapi import HTTPException
from starlette.requests import Request

from mindeye2.serve import bodies
from mindeye2.serve.bodies import JSON, read_array, read_body


def request(*parts, headers=(), end=True):
    """Return a request whose body arrives in parts, and without end never comes to one."""
    messages = [{"type": "http.request", "body": p, "more_body": True} for p in parts]
    if end:
        messages[-1]["more_body"] = False

    async def receive():
        if not messages:
            await asyncio.sleep(3600)
        return messages.pop(0)

    scope = {"type": "http", "headers": [(b"content-type", JSON.encode()), *headers]}
    return Request(scope, receive)


def read(request, max_bytes=10):
    return asyncio.run(read_body(request, accepted=(JSON,), max_bytes=max_bytes))


def test_a_body_arrives_in_parts():
    assert read(request(b"01234", b"56789")) == b"0123456789"


@pytest.mark.parametrize(
    "sent",
    [
        request(b"012345", b"678901"),
        request(b"0", headers=[(b"content-length", b"11")], end=False),
    ],
    ids=["counted", "announced"],
)
def test_a_body_that_is_too_large_is_not_read_on(sent):
    with pytest.raises(HTTPException, match="413: the body must have at most 10 bytes"):
        read(sent)


def test_a_body_that_never_arrives_is_given_up(monkeypatch):
    monkeypatch.setattr(bodies, "_SECONDS", 0.01)
    with pytest.raises(HTTPException, match=r"408: the body did not arrive within 0\.01 s"):
        read(request(b"0", end=False))


def test_missing_numbers_are_nan():
    np.testing.assert_array_equal(
        read_array([[1, None], [2.5, 3]], what="b"), [[1, np.nan], [2.5, 3]]
    )
    assert read_array([[None, None]], what="b").dtype == np.float64
