"""Which requests the device can serve by itself; all others need the host between steps, in the plain loop."""

from __future__ import annotations

import msgspec

from engine.params import SamplingParams
from engine.sampling.processors import needs_processing

#: settings that the device knows, or that the host can apply a step later
RESIDENT = frozenset(
    {
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "seed",
        "stop_token_ids",
        "max_tokens",
        "ignore_eos",
        # a prompt's own rows, which are done when decoding begins
        "prompt_logprobs",
    }
)
_OTHERS = {
    field.name: field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    for field in msgspec.structs.fields(SamplingParams)
    if field.name not in RESIDENT
}


def is_resident(params: SamplingParams) -> bool:
    """Whether nothing but the settings above was asked for; any other setting counts as host work."""
    if needs_processing(params):
        return False
    return all(getattr(params, name) == default for name, default in _OTHERS.items())
