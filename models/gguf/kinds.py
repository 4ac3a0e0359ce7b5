"""The number formats of GGUF tensors that are read, by the number that stands in the file."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """`block` numbers of one row are kept together in `size` bytes."""

    name: str
    block: int
    size: int

    @property
    def is_plain(self) -> bool:
        """Whether the numbers stand there one by one."""
        return self.block == 1


KINDS: dict[int, Kind] = {
    0: Kind("F32", 1, 4),
    1: Kind("F16", 1, 2),
    2: Kind("Q4_0", 32, 18),
    3: Kind("Q4_1", 32, 20),
    6: Kind("Q5_0", 32, 22),
    7: Kind("Q5_1", 32, 24),
    8: Kind("Q8_0", 32, 34),
    10: Kind("Q2_K", 256, 84),
    11: Kind("Q3_K", 256, 110),
    12: Kind("Q4_K", 256, 144),
    13: Kind("Q5_K", 256, 176),
    14: Kind("Q6_K", 256, 210),
    30: Kind("BF16", 1, 2),
}
