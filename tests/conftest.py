"""Fixtures that several suites share."""

from tests.server.fixtures import hermes_server, roomy_model, served_model, server, tokenizer, tool_server

__all__ = ["hermes_server", "roomy_model", "served_model", "server", "tokenizer", "tool_server"]
