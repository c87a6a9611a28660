import pytest
from fastapi import FastAPI

from mindeye2.serve import bind, run_server


def test_a_port_in_use_is_refused_in_words():
    with bind("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(ValueError, match=rf"127.0.0.1 port {port} cannot be bound \(Address"):
            bind("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused_in_words():
    with pytest.raises(ValueError, match=r"192.0.2.1 port 0 cannot be bound"):
        bind("192.0.2.1", 0)
    with pytest.raises(ValueError, match=r"--host no such host is no address of this machine"):
        bind("no such host", 0)


def test_ctrl_c_ends_the_server_quietly(monkeypatch):
    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("uvicorn.Server.run", stop)
    with bind("127.0.0.1", 0) as listener:
        run_server(FastAPI(), listener)
