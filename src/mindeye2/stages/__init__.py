"""Prepare, train, reconstruct, evaluate, report: each reads one folder and fills the next."""
