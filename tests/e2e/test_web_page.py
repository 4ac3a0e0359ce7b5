"""The page at /, driven in headless Chromium against a real server."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Error, Page, Route, expect, sync_playwright

from tests.clients.installing import NotInstallableError
from tests.e2e.browser import find_chromium
from tests.server.live import LiveServer
from tests.server.tiny_model import save_tiny_model

KEY = "sesame-street"
SECONDS = 30.0
PATIENCE_MS = 20_000
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>&amp;</pre>"

Fields = dict[str, Any]


@pytest.fixture(scope="module")
def browser(pytestconfig: pytest.Config) -> Iterator[Browser]:
    cache = pytestconfig.cache
    assert cache is not None
    try:
        chromium = find_chromium(cache.mkdir("browsers"))
    except NotInstallableError as error:
        pytest.skip(str(error))
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        try:
            made = playwright.chromium.launch(
                executable_path=chromium.program, env={**os.environ, **chromium.env}, args=["--no-sandbox"]
            )
        except Error as error:
            pytest.skip(f"NOT RUN: {chromium.program} does not start here ({str(error).splitlines()[0]}).")
        yield made
        made.close()


@pytest.fixture(scope="module")
def long_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Answers of thousands of tokens, so that there is something to stop."""
    model = save_tiny_model(tmp_path_factory.mktemp("long") / "tiny-tidar", context=16384)
    with LiveServer(model, "--decoding", "tidar", "--predrafts", "full") as live:
        yield live


@pytest.fixture(scope="module")
def locked_server(served_model: Path) -> Iterator[LiveServer]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with LiveServer(served_model, "--api-key", KEY, headers=headers) as live:
        yield live


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages on which no script may fail and nothing may breach the policy."""
    contexts = []
    complaints: list[str] = []

    def opened(live: LiveServer, **options: Any) -> Page:
        context = browser.new_context(base_url=live.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.goto("/")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


def ask_for(page: Page, **fields: Any) -> list[Fields]:
    """Add fields to the page's requests, which nobody can type there; returns the bodies as they were sent."""
    sent: list[Fields] = []

    def add(route: Route) -> None:
        body = {**json.loads(route.request.post_data or "{}"), **fields}
        sent.append(body)
        route.continue_(post_data=json.dumps(body))

    page.route(re.compile("/completions$"), add)
    return sent


def run(page: Page, prompt: str, mode: str = "Complete") -> None:
    """Ask and wait for the end of the answer."""
    begin(page, prompt, mode)
    expect(page.locator(".answer").last.locator(".summary")).not_to_be_empty()


def begin(page: Page, prompt: str, mode: str = "Complete") -> None:
    expect(page.locator("#model")).to_contain_text("tiny-tidar")
    page.get_by_role("button", name=mode, exact=True).click()
    page.locator("#prompt").fill(prompt)
    page.get_by_role("button", name="Send" if mode == "Chat" else "Run", exact=True).click()


def settle(page: Page, fields: dict[str, str]) -> None:
    """Type into the sampling fields, by their labels."""
    page.locator(".sampling summary").click()
    for label, value in fields.items():
        page.get_by_label(label).fill(value)


def test_a_completion_arrives_in_steps_that_show_where_each_token_came_from(
    server: LiveServer, open_page: Callable[..., Page]
) -> None:
    page = open_page(server)
    expect(page.locator("#model")).to_have_text("tiny-tidar · up to 4 tokens per forward")
    sent = ask_for(page, ignore_eos=True)
    settle(page, {"Temperature": "100", "Top-p": "1", "Most tokens": "60", "Seed": "7"})
    run(page, "def f(")
    said = server.complete(
        prompt="def f(", temperature=100, top_p=1, max_tokens=60, seed=7, ignore_eos=True, return_metrics=True
    )
    answer = page.locator(".answer")
    assert answer.locator(".text").text_content() == "def f(" + said["choices"][0]["text"]
    assert sent[0]["stream_options"] == {"include_steps": True}
    metrics = said["metrics"]
    assert answer.locator(".column").count() == metrics["decode_forwards"] + 1
    accepted = sum(length * steps for length, steps in enumerate(metrics["acceptance_lengths"]))
    assert answer.locator(".column .draft").count() == accepted > 5
    assert answer.locator(".column .correction, .column .bonus").count() > 5
    assert answer.locator(".tok.draft").count() > 5
    expect(answer.locator(".summary")).to_contain_text(f"{metrics['tokens_per_forward']:.2f} tokens per forward")
    expect(answer.locator(".summary")).to_contain_text("60 tokens in")


def test_gauges_follow_the_server(server: LiveServer, open_page: Callable[..., Page]) -> None:
    page = open_page(server)
    run(page, "x = ")
    expect(page.locator("#g-rate")).not_to_have_text("0")
    expect(page.locator("#g-accept")).to_contain_text("%")
    expect(page.locator("#g-running")).to_have_text("0")
    assert float(page.locator("#g-forward").inner_text()) >= 1
    assert page.locator("#b-accept").get_attribute("aria-valuenow") is not None


def test_a_chat_keeps_what_was_said(tool_server: LiveServer, open_page: Callable[..., Page]) -> None:
    page = open_page(tool_server)
    sent = ask_for(page, structured_outputs={"choice": ["well, yes"]})
    run(page, "Is it?", mode="Chat")
    run(page, "Sure?", mode="Chat")
    roles = [(message["role"], message["content"]) for message in sent[1]["messages"]]
    assert roles == [("user", "Is it?"), ("assistant", "well, yes"), ("user", "Sure?")]
    assert page.locator(".answer .text").all_text_contents() == ["well, yes", "well, yes"]
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".answer")).to_have_count(0)


def test_thoughts_stand_apart(hermes_server: LiveServer, open_page: Callable[..., Page]) -> None:
    page = open_page(hermes_server)
    ask_for(page, structured_outputs={"grammar": 'start: "<think>\\nhm, hm\\n</think>\\nyes"'})
    run(page, "Is it?", mode="Chat")
    assert (page.locator(".thoughts .text").text_content() or "").strip() == "hm, hm"
    assert page.locator(".answer > .text").text_content() == "yes"


@pytest.mark.parametrize("mode", ["Complete", "Chat"])
def test_html_in_prompts_and_answers_is_text(
    tool_server: LiveServer, open_page: Callable[..., Page], mode: str
) -> None:
    page = open_page(tool_server)
    ask_for(page, structured_outputs={"choice": [HOSTILE]})
    run(page, HOSTILE, mode=mode)
    shown = page.locator(".answer .text").text_content()
    assert shown == (HOSTILE if mode == "Chat" else HOSTILE * 2)
    assert page.locator("#log img, #log script").count() == 0
    assert page.title() == "TiDAR Serve"


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_stopping_frees_the_engine(long_server: LiveServer, open_page: Callable[..., Page], way: str) -> None:
    page = open_page(long_server)
    ask_for(page, ignore_eos=True)
    settle(page, {"Most tokens": "16000"})
    begin(page, "def f(")
    # a long answer, of a server that is faster than the page can draw
    expect(page.locator(".answer .column").nth(500)).to_be_attached()
    # the figures may be a quarter of a second old
    long_server.wait_until(lambda: long_server.metrics()["tidar:num_requests_running"] == 1, 2)
    if way == "button":
        page.get_by_role("button", name="Stop").click()
    else:
        page.keyboard.press(way)
    expect(page.locator(".answer .summary")).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Run")).to_be_visible()
    long_server.wait_until_idle()
    assert long_server.metrics()['tidar:request_success_total{finished_reason="abort"}'] >= 1


def test_a_refused_request_shows_the_servers_own_words(server: LiveServer, open_page: Callable[..., Page]) -> None:
    page = open_page(server)
    settle(page, {"Most tokens": "5000"})
    run(page, "def f(")
    said = server.post("/v1/completions", {"prompt": "def f(", "max_tokens": 5000}).json()["error"]["message"]
    assert page.get_by_role("alert").inner_text() == said


def test_a_key_is_asked_for_and_kept_in_the_tab(locked_server: LiveServer, open_page: Callable[..., Page]) -> None:
    page = open_page(locked_server)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Give a valid API key")
    for key in ("wrong", KEY):
        dialog.get_by_label("Key").fill(key)
        dialog.get_by_role("button", name="Use it").click()
        page.wait_for_load_state("networkidle")
    expect(dialog).to_be_hidden()
    run(page, "def f(")
    page.reload()
    run(page, "def f(")
    assert page.evaluate("() => JSON.stringify(localStorage)").count(KEY) == 0


def test_everything_can_be_done_and_named_without_a_mouse(server: LiveServer, open_page: Callable[..., Page]) -> None:
    page = open_page(server)
    expect(page.locator("#model")).to_contain_text("tiny-tidar")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the prompt")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Complete").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Text to continue").focus()
    page.keyboard.type("x = ")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".answer .summary")).not_to_be_empty()
    expect(page.get_by_role("status")).to_contain_text("The answer is complete")
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, input, textarea')].filter((field) =>
        !(field.getAttribute('aria-label') || field.labels?.length || field.textContent.trim())).length""")
    assert nameless == 0


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_the_window_in_light_and_dark(server: LiveServer, open_page: Callable[..., Page], width: int) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page = open_page(server, viewport={"width": width, "height": 760}, color_scheme=scheme)
        run(page, "def f(" + "x" * 100)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        expect(page.locator("#prompt")).to_be_in_viewport()
        grounds.append(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_a_replay_shows_the_same_text_again(server: LiveServer, open_page: Callable[..., Page]) -> None:
    page = open_page(server)
    settle(page, {"Most tokens": "6"})
    run(page, "def f(")
    text = page.locator(".answer .text")
    before = text.inner_text()
    page.get_by_role("button", name="Replay slowly").click()
    expect(text).to_have_text("def f(", use_inner_text=True)
    expect(text).to_have_text(before, use_inner_text=True)


def test_the_page_says_when_the_server_is_gone(served_model: Path, open_page: Callable[..., Page]) -> None:
    with LiveServer(served_model) as live:
        page = open_page(live)
        expect(page.locator("#model")).to_contain_text("tiny-tidar")
        live.stop()
        assert live.process.wait(SECONDS) == 0
        expect(page.get_by_role("status")).to_have_text("The server does not answer.")
        with pytest.raises(httpx.TransportError):
            live.get("/")
