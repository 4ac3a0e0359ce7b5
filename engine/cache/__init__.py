"""Paged KV cache: who owns which page (`pages`) and the tensors behind them (`storage`)."""
