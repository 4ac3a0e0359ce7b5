"""Which format a chat template teaches."""

from __future__ import annotations

import pytest

from models.chat_template import ChatTemplate
from server.tools.registry import detect

TEMPLATES = {
    "hermes": '{% if tools %}<tool_call>{"name": <function-name>, "arguments": <args-json-object>}{% endif %}',
    "mistral": "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}{{ '[TOOL_CALLS] ' }}",
    "llama3_json": "{% if not tools is defined %}{% set tools = none %}{% endif %}{% if tools is not none %}Respond in "
    'the format {"name": function name, "parameters": dictionary of argument name and its value}.{% endif %}',
    None: "{% if tools %}<tool_call><function=name><parameter=x>{% endif %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_shows_its_format(name: str | None) -> None:
    assert detect(TEMPLATES[name]) == name
    assert ChatTemplate(TEMPLATES[name], {}).knows("tools")


def test_a_plain_template_knows_no_tools() -> None:
    template = ChatTemplate("{% for tools in messages %}{{ tools.content }}{% endfor %}", {})
    assert not template.knows("tools")
    assert detect(template.source) is None
