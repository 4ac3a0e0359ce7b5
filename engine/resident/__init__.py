"""The device-resident step: everything between two host reads stays in tensors, and the host runs one step ahead."""
