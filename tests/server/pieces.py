"""Texts in pieces of random sizes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st


@st.composite
def cut(draw: st.DrawFn, fragments: list[str], most: int = 12) -> list[str]:
    """A text made of some of the fragments, single characters of them included, cut anywhere."""
    singles = st.sampled_from(sorted(set("".join(fragments)) | set(' \n{}[]",:;\\<é1')))
    text = "".join(draw(st.lists(st.sampled_from(fragments) | singles, max_size=most)))
    return pieces(text, draw(st.lists(st.integers(0, len(text)))))


def pieces(text: str, at: list[int]) -> list[str]:
    """`text` cut at these places."""
    return [text[start:end] for start, end in pairwise([0, *sorted(at), len(text)])]
