"""Who may ask: this machine without a token, others with it."""

import hmac
import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

__all__ = ["Access"]

_MIN_TOKEN = 16

_Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Security(HTTPBearer(auto_error=False, scheme_name="token")),
]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where the server listens, and the token that requests must carry."""

    host: str
    """Address to bind, e.g. ``"127.0.0.1"``."""

    token: str | None
    """Bearer token; None on this machine alone."""

    def __post_init__(self) -> None:
        make = 'python -c "import secrets; print(secrets.token_urlsafe())"'
        if self.token is None and not _is_loopback(self.host):
            raise ValueError(
                f"--host {self.host} can be reached by other machines, so a token is needed: set "
                f"MINDEYE2_TOKEN or --token (make one with: {make}), or leave --host out."
            )
        if self.token is not None and not re.fullmatch(rf"[!-~]{{{_MIN_TOKEN},}}", self.token):
            raise ValueError(
                f"the token must have at least {_MIN_TOKEN} letters, digits or signs without "
                f"spaces. Make one with: {make}"
            )

    def check_host(self, request: Request) -> None:
        """Refuse requests by another name than this machine's, as pages of other sites send."""
        given = request.headers.get("host", "")
        name = re.fullmatch(r"\[([^\]]*)\](?::\d+)?|([^:]*)(?::\d+)?", given)
        if name is None or not _is_loopback((name[1] or name[2] or "").lower()):
            raise HTTPException(403, "this server answers this machine only, as localhost.")

    def check_token(self, credentials: _Bearer) -> None:
        """Refuse requests without the token."""
        given = "" if credentials is None else credentials.credentials
        if not hmac.compare_digest(given.encode(), (self.token or "").encode()):
            raise HTTPException(
                401,
                "the token is missing or wrong: send the header 'Authorization: Bearer TOKEN'.",
                headers={"WWW-Authenticate": "Bearer"},
            )
