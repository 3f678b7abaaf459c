"""A Dask cluster per site, owned by a person and not by a notebook: each `Client()` of hers finds it, nobody else.

Modules of this package run under gears' own Python. What is in `anywhere/` runs under that of any environment.
"""
