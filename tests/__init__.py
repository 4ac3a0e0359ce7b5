"""Triton kernels run in Triton's interpreter where there is no GPU; Triton reads this when it is first imported.

The interpreter of Triton 3.6 needs numpy before 2.4: its loops turn arrays of one number into Python's.
"""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
