"""The page at / as files over HTTP; tests/e2e drives it in a browser."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from server.routes.web import FOLDER, page_files
from tests.server.live import ROOT, LiveServer

PATHS = list(page_files())


@pytest.mark.parametrize("path", PATHS)
def test_every_file_is_served_with_a_strict_policy(server: LiveServer, path: str) -> None:
    answer = server.get(path)
    assert answer.status_code == 200
    assert answer.content == page_files()[path].read_bytes()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = server.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert server.client.head(path).headers["content-length"] == str(len(answer.content))


def test_the_page_names_no_other_host_and_holds_nothing_inline() -> None:
    for file in FOLDER.iterdir():
        text = file.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|//[a-z]+\.|@import|innerHTML|outerHTML|insertAdjacentHTML|\beval\b", text), file
        assert file.suffix != ".html" or not re.search(r"<style|<script>|\son\w+=|\sstyle=", text), file


def test_what_the_page_asks_for_is_there() -> None:
    html = (FOLDER / "index.html").read_text()
    asked = set(re.findall(r'(?:src|href)="(web/[^"]+)"', html))
    for module in FOLDER.glob("*.js"):
        asked |= {f"web/{name}" for name in re.findall(r'from "\./([^"]+)"', module.read_text())}
    assert {f"/{name}" for name in asked} == set(PATHS) - {"/"}


def test_the_wheel_carries_every_file() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["*"]
    for file in FOLDER.iterdir():
        assert any(fnmatch(file.name, pattern) for pattern in patterns), file


def test_the_page_needs_no_key_but_tells_nothing_without_one(served_model: Path) -> None:
    with LiveServer(served_model, "--api-key", "secret") as live:
        assert all(live.get(path).status_code == 200 for path in PATHS)
        assert live.get("/v1/models").status_code == live.get("/metrics").status_code == 401
        assert live.get("/web/").status_code == 401


def test_it_can_be_left_out(served_model: Path) -> None:
    with LiveServer(served_model, "--no-web") as live:
        for path in PATHS:
            assert live.get(path).status_code == 404
            assert live.get(path).json()["error"]["type"] == "not_found_error"


def test_the_card_says_what_a_model_is_best_asked_for(server: LiveServer) -> None:
    card = server.get("/v1/models").json()["data"][0]["tidar"]
    assert card == {"decoding": "tidar", "draft_length": 4, "predrafts": "full", "chat": True, "preferred": "chat"}
