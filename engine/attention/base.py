"""The one attention function of the engine, and how it is prepared once per step."""

from __future__ import annotations

from abc import ABC, abstractmethod

from engine.batch import Batch
from engine.cache.storage import KVStorage
from models.decoder import Attention


class AttentionBackend(ABC):
    """Stores the rows' K/V; every row sees its sequence's whole prefix and, inside the window, what the mask allows.

    Slots that belong to no live token (unused pages, rejected drafts, padding) may hold anything, NaN included, and
    must not change a result.
    """

    def __init__(self, storage: KVStorage) -> None:
        self.storage = storage

    @abstractmethod
    def prepare(self, batch: Batch) -> Attention:
        """What does not depend on the layer (indices, masks) is computed here; the result is called once per layer."""
