"""Chat templates: a checkpoint's own Jinja text, rendered in a sandbox with the helpers that such templates expect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.errors import ModelError, PromptError


class ChatTemplate:
    """One compiled template."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """`special_tokens`: such as bos_token and eos_token, as the template names them. Raises ModelError."""
        self.source = source
        self._special_tokens = dict(special_tokens)
        try:
            environment = _environment()
            self._variables = meta.find_undeclared_variables(environment.parse(source))
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ModelError(f"The chat template is not valid Jinja ({error}).") from None

    def knows(self, variable: str) -> bool:
        """Whether the template reads this variable, such as tools."""
        return variable in self._variables

    def render(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool, variables: Mapping[str, Any]
    ) -> str:
        """The prompt text of a conversation. Raises PromptError where the template does not take these messages."""
        given = {"tools": None, "documents": None, **self._special_tokens, **variables}
        try:
            return self._template.render(messages=messages, add_generation_prompt=add_generation_prompt, **given)
        except Exception as error:  # a template calls methods of what it is given, and they raise what they like
            reason = " ".join(str(error).split()).rstrip(".")
            raise PromptError(f"The chat template does not take these messages ({reason}).") from None


def find_template(folder: Path, tokenizer_config: Mapping[str, Any], name: str = "default") -> str | None:
    """The template's text: a file of its own, or chat_template in tokenizer_config.json, which may hold several.

    `name` may be another than the default, such as tool_use; then there need be none.
    """
    default = name == "default"
    path = folder / ("chat_template.jinja" if default else f"additional_chat_templates/{name}.jinja")
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}).") from None
    given = tokenizer_config.get("chat_template")
    if isinstance(given, list):
        named = {entry.get("name"): entry.get("template") for entry in given if isinstance(entry, dict)}
        given = named.get(name)
    elif not default:
        return None
    if given is not None and not isinstance(given, str):
        raise ModelError(f"chat_template in {folder / 'tokenizer_config.json'} must be text.")
    return given


class _Generation(Extension):
    """`{% generation %}` marks what the assistant said, for training; rendering shows its body."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Jinja's own tojson escapes for HTML, which prompts are not."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _now(layout: str) -> str:
    return datetime.now().astimezone().strftime(layout)
