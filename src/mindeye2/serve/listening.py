"""The socket of the server, and its loop."""

import contextlib
import socket

import uvicorn
from fastapi import FastAPI

__all__ = ["bind", "run_server"]


def bind(host: str, port: int) -> socket.socket:
    """Listen on a socket, or raise ValueError in words; clients wait until the server runs."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ValueError(f"--host {host} is no address of this machine ({error}).") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ValueError(
            f"{host} port {port} cannot be bound ({error.strerror}). Give another --port, or 0 "
            "for any that is free."
        ) from error
    return listener


def run_server(app: FastAPI, listener: socket.socket) -> None:
    """Answer requests until Ctrl-C or SIGTERM."""
    config = uvicorn.Config(app, log_level="info", server_header=False, ws="none")
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again
        uvicorn.Server(config).run(sockets=[listener])
