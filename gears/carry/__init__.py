"""Save the variables of a notebook, and load them into another kernel: `kernel_state.save` and `kernel_state.load`.

Runs in the kernel, under any environment's Python from 3.9 on, and so imports the standard library only; classes of the
notebook need cloudpickle in the environment. A kernel loads this package by its path, under any name.
"""
