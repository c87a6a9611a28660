"""HTTP server: one decoder, JSON or ``.npy`` in, JSON or PNG out."""

from mindeye2.serve.access import Access
from mindeye2.serve.listening import bind, run_server
from mindeye2.serve.server import build_server

__all__ = ["Access", "bind", "build_server", "run_server"]
