"""Triton kernels of sampling, one file each; imported only where Triton is."""
