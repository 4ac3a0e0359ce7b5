"""Models by their id on the Hugging Face hub, through its own client, cache and environment variables."""

from __future__ import annotations

from pathlib import Path

from models.errors import ModelError

#: what a folder is read from; pickled weights and code are not even fetched
PATTERNS = ["*.json", "*.jinja", "*.safetensors"]


def fetch(model: str) -> Path:
    """The local folder of hub id owner/name, or the file of owner/name/file.gguf. Raises ModelError, one sentence.

    HF_HUB_OFFLINE, HF_HOME, HF_TOKEN and HF_ENDPOINT mean what they mean to huggingface_hub.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    owner, name, *rest = model.split("/", 2)
    repository = f"{owner}/{name}"
    try:
        # of one file too: unlike the call for single files it does not retry for half a minute without a network
        folder = Path(snapshot_download(repository, allow_patterns=rest or PATTERNS))
    except HFValidationError as error:
        raise ModelError(f"{model} is neither here nor an id on the hub ({_reason(error)}).") from None
    except HfHubHTTPError as error:
        raise ModelError(_refused(model, error.response.status_code)) from None
    except Exception as error:  # the client passes on whatever its network library raises
        raise ModelError(_unreachable(model, error)) from None
    found = folder.joinpath(*rest)
    if not found.exists():
        raise ModelError(f"The hub's {repository} holds no file {rest[0]}.")
    return found


def _refused(model: str, status: int) -> str:
    if status in (401, 403):
        return (
            f"The hub does not show {model} to you: it is private, gated or misspelt (set HF_TOKEN for the first two)."
        )
    if status == 404:
        return f"The hub has no {model}: check the spelling, or give a folder or a GGUF file on this machine."
    return f"The hub answered {status} for {model}: try again later, or give a folder on this machine."


def _unreachable(model: str, error: Exception) -> str:
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return f"{model} is neither on this machine nor in the hub's cache, and HF_HUB_OFFLINE forbids fetching it."
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return f"{model} cannot be stored in the hub's cache ({_reason(error)})."
    return f"{model} is neither on this machine nor in the hub's cache, and the hub cannot be reached from here."


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
