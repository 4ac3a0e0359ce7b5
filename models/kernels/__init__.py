"""Triton kernels of the decoder's small operations, one file each; imported only where Triton is."""
