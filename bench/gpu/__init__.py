"""Measurements on a CUDA device, against what that device itself can do."""
