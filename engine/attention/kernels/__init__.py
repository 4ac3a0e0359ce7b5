"""Triton kernels of window attention, one file each; imported only where Triton is."""
