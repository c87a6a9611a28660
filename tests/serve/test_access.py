import re

import pytest
from fastapi import HTTPException
from starlette.requests import Request

from mindeye2.serve import Access


def request(host):
    return Request({"type": "http", "headers": [(b"host", host.encode())]})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_token(host):
    assert Access(host=host, token=None).token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "localhost.example", ""])
def test_other_addresses_need_a_token(host):
    with pytest.raises(ValueError, match=rf"--host {re.escape(host)} can be reached by other"):
        Access(host=host, token=None)


@pytest.mark.parametrize("token", ["", "short", "with space 0123456789", "0123456789abcdeé"])
def test_a_token_is_long_and_fits_a_header(token):
    with pytest.raises(ValueError, match="the token must have at least 16 letters"):
        Access(host="127.0.0.1", token=token)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:8000"])
def test_names_of_this_machine_are_answered(host):
    Access(host="127.0.0.1", token=None).check_host(request(host))


@pytest.mark.parametrize("host", ["", "evil.example", "[::1", "localhost:80:80", "[::2]:80"])
def test_a_page_that_gives_its_own_name_to_this_machine_is_refused(host):
    with pytest.raises(HTTPException, match="403"):
        Access(host="127.0.0.1", token=None).check_host(request(host))
