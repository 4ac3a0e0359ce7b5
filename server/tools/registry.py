"""Which formats there are, and which of them a model writes."""

from __future__ import annotations

from server.tools.base import ToolParser
from server.tools.generic_json import GenericJsonParser
from server.tools.hermes import HermesParser
from server.tools.llama3_json import Llama3JsonParser
from server.tools.mistral import MistralParser

TOOL_PARSERS: dict[str, type[ToolParser]] = {
    "hermes": HermesParser,
    "llama3_json": Llama3JsonParser,
    "mistral": MistralParser,
    "json": GenericJsonParser,
}
#: a template that shows all of a row's first signs, and none of its second, teaches that format
SIGNS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("mistral", ("[TOOL_CALLS]",), ()),
    ("hermes", ("<tool_call>", '"arguments"'), ("<function=", "<arg_key>")),
    ("hermes", ("<tool_call>", "<args-json-object>"), ("<function=", "<arg_key>")),
    ("llama3_json", ('{"name": function name, "parameters": dictionary',), ()),
)


def detect(template: str) -> str | None:
    """The name of the format that this chat template teaches its model; None where it is not one of ours."""
    for name, shown, others in SIGNS:
        if all(sign in template for sign in shown) and not any(sign in template for sign in others):
            return name
    return None
