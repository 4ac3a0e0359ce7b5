"""Fixtures that several suites share."""

from tests.server.fixtures import served_model, server, tokenizer

__all__ = ["served_model", "server", "tokenizer"]
