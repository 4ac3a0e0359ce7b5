"""From what a user types to what the loader reads: a checkpoint folder or a GGUF file on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from models.catalogue import CATALOGUE, pulled_file
from models.errors import ModelError
from models.folder import GGUF_SUFFIX

#: owner/name on a model hub; a third part may name one GGUF file of it
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(/[\w./-]+\.gguf)?")


def resolve(given: str) -> Path:
    """The folder or GGUF file that `given` means. Raises ModelError, one sentence, where there is none.

    In this order: a path on this machine; a name that `tidar pull` has fetched, such as smollm2; an id on the hub
    (owner/name, or owner/name/file.gguf), from its cache or, unless HF_HUB_OFFLINE is set, over the network.
    """
    path = Path(given).expanduser()
    if path.exists():
        return path
    if given in CATALOGUE:
        return _pulled(given)
    if HUB_ID.fullmatch(given) and not path.parent.exists():
        from models.hub import fetch

        return fetch(given)
    if path.suffix == GGUF_SUFFIX:
        raise ModelError(f"There is no GGUF file {given}.")
    raise ModelError(
        f"There is no model folder {given}: give a folder, a GGUF file, an id on the hub (owner/name) "
        f"or a name that `tidar pull` knows ({', '.join(CATALOGUE)})."
    )


def short_name(given: str) -> str:
    """What clients may call the model: a path's last part, a hub id or pulled name as it stands."""
    path = Path(given).expanduser()
    if not path.exists():
        return given
    name = path.resolve().name
    return name.removesuffix(GGUF_SUFFIX)


def _pulled(name: str) -> Path:
    file = pulled_file(name)
    if not file.is_file():
        raise ModelError(f"The model {name} is not on this machine yet: fetch it with `tidar pull {name}`.")
    return file
