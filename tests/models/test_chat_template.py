"""A checkpoint's chat template renders as it does in transformers, and cannot do harm."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from models.errors import ModelError, PromptError
from models.tokenizer import Tokenizer
from tests.models import tokenizers_on_disk

TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Answer <briefly> & 'well'."},
    {"role": "user", "content": "Was heißt 狐?\n"},
    {"role": "assistant", "content": "Fox.", "tool_calls": [{"name": "look_up", "arguments": {"word": "狐"}}]},
]
TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]

TEMPLATES = {
    "plain": tokenizers_on_disk.TEMPLATE,
    "bos and eos": "{{ bos_token }}{% for m in messages %}{{ m['content'] | trim }}{{ eos_token }}{% endfor %}",
    "whitespace control": "{% for m in messages %}\n  {%- if loop.first %}\n    A\n  {% endif %}\n{% endfor %}",
    "tools as json": "{% if tools %}{{ tools | tojson(indent=2) }}{% endif %}{{ messages[2].tool_calls | tojson }}",
    "loop controls": "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}|{% endfor %}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "undefined names": "{{ documents is none }}{{ unheard_of is defined }}{{ pad_token is defined }}",
    "the year": "{{ strftime_now('%Y') }}",
}


def tokenizer(folder: Path, template: Any) -> Tokenizer:
    tokenizers_on_disk.write(
        folder,
        tokenizers_on_disk.byte_level(),
        bos_token="<|bos|>",
        eos_token="<|end|>",
        chat_template=template,
    )
    return Tokenizer.from_folder(folder)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("tools", [None, TOOLS], ids=["no tools", "tools"])
def test_prompts_are_those_of_transformers(tmp_path: Path, name: str, tools: list[dict[str, Any]] | None) -> None:
    ours = tokenizer(tmp_path, TEMPLATES[name])
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"),
        bos_token="<|bos|>",
        eos_token="<|end|>",
        chat_template=TEMPLATES[name],
    )
    for add in (True, False):
        expected = theirs.apply_chat_template(TALK, tools=tools, add_generation_prompt=add, tokenize=False)
        assert ours.apply_chat_template(TALK, add_generation_prompt=add, tools=tools) == expected


def test_a_template_file_wins_over_the_one_in_the_config(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("from the file: {{ messages[0].content }}")
    assert tokenizer(tmp_path, "from the config").apply_chat_template([{"content": "狐"}]) == "from the file: 狐"


def test_of_several_templates_the_default_is_used(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    assert tokenizer(tmp_path, named).apply_chat_template([]) == "plain"


def test_conversations_with_tools_may_have_a_template_of_their_own(tmp_path: Path) -> None:
    def used(**files: str) -> tuple[str, str]:
        folder = tmp_path / "-".join(files)
        (folder / "additional_chat_templates").mkdir(parents=True)
        tokenizers_on_disk.write(folder, tokenizers_on_disk.byte_level())
        for name, text in files.items():
            (folder / name.replace("__", "/")).with_suffix(".json" if "config" in name else ".jinja").write_text(text)
        read = Tokenizer.from_folder(folder)
        assert read.chat_template is not None and read.tool_template is not None
        return read.chat_template.source, read.tool_template.source

    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    assert used(tokenizer_config=json.dumps({"chat_template": named})) == ("plain", "tools")
    assert used(chat_template="a", additional_chat_templates__tool_use="b") == ("a", "b")
    assert used(chat_template="plain") == ("plain", "plain")


def test_variables_reach_the_template(tmp_path: Path) -> None:
    template = "{{ 'think' if enable_thinking else 'answer' }}"
    assert tokenizer(tmp_path, template).apply_chat_template([], enable_thinking=True) == "think"


def test_the_date_is_today(tmp_path: Path) -> None:
    before = datetime.now().astimezone().strftime("%d %b %Y")
    rendered = tokenizer(tmp_path, "{{ strftime_now('%d %b %Y') }}").apply_chat_template([])
    assert rendered in (before, datetime.now().astimezone().strftime("%d %b %Y"))


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[0].content + 1 }}",
        "{{ messages[9].content.text }}",
        "{{ 1 / 0 }}",
        "{{ messages | dictsort }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_messages_that_the_template_refuses_are_the_requests_fault(tmp_path: Path, template: str) -> None:
    with pytest.raises(PromptError, match="does not take these messages") as caught:
        tokenizer(tmp_path, template).apply_chat_template([{"role": "user", "content": "a"}])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.append(1) }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception.__globals__.keys() }}",
        "{{ range(10**9) | list }}",
    ],
)
def test_a_template_is_kept_inside_its_sandbox(tmp_path: Path, template: str) -> None:
    messages = [{"role": "user", "content": "a"}]
    with pytest.raises(PromptError):
        tokenizer(tmp_path, template).apply_chat_template(messages)
    assert messages == [{"role": "user", "content": "a"}]


def test_a_model_without_template_says_so(tmp_path: Path) -> None:
    plain = tokenizer(tmp_path, None)
    assert not plain.has_chat_template
    with pytest.raises(PromptError, match="no chat template"):
        plain.apply_chat_template([])


@pytest.mark.parametrize("template", ["{% if %}", "{{ ", "{% generation %}"])
def test_a_template_that_is_no_jinja_is_found_at_start_up(tmp_path: Path, template: str) -> None:
    with pytest.raises(ModelError, match="not valid Jinja"):
        tokenizer(tmp_path, template)


def test_a_template_that_is_no_text_is_found_at_start_up(tmp_path: Path) -> None:
    tokenizers_on_disk.write(tmp_path, tokenizers_on_disk.byte_level())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": {"a": 1}}))
    with pytest.raises(ModelError, match="must be text"):
        Tokenizer.from_folder(tmp_path)
