"""One Dask cluster per site, which belongs to the user and not to a notebook: each `Client()` of the user finds it.

Modules of this package run under gears' own Python. The files in `anywhere/` run under that of any environment.
"""
