"""API keys from flags, the environment and a file."""

from __future__ import annotations

from pathlib import Path

import typer


def api_keys(given: list[str], file: Path | None) -> tuple[str, ...]:
    """All keys: flags (and TIDAR_API_KEY, split at blanks), then the file's lines; # begins a comment line."""
    keys = [key.strip() for key in given]
    if file is not None:
        try:
            lines = file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{file} cannot be read ({error}).", param_hint="--api-key-file") from None
        keys += [line.strip() for line in lines if not line.lstrip().startswith("#")]
        if not any(keys):
            raise typer.BadParameter(f"{file} holds no key.", param_hint="--api-key-file")
    return tuple(key for key in keys if key)
