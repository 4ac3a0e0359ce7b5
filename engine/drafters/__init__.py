"""Drafts that do not come from mask rows: copied n-grams, a small model, an EAGLE-3 head. One file each."""
