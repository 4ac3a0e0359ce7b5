"""The server that `tidar chat` starts for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.talk.child import own_server


def test_it_wants_no_key_and_sends_no_traces_whatever_the_environment_says(
    served_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("secret\n")
    monkeypatch.setenv("TIDAR_API_KEY", "secret")
    monkeypatch.setenv("TIDAR_API_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("TIDAR_OTLP_ENDPOINT", "no address at all")
    with own_server([str(served_model), "--threads", "1", "--dtype", "float64"]) as remote:
        assert remote.card()["id"] == "tiny-tidar"
