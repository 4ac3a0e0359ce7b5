"""C kernels for float32 and float64 on a CPU: library.py compiles them, layer_operations.py calls them."""
