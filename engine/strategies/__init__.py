"""Decoding schemes behind one interface (`base`), one file each."""
