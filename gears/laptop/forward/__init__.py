"""`gears forward`, on a laptop: a person's Jupyter servers and Dask dashboards on some hosts, each at a port here.

find      run on the far host: what is there
servers   what was found, checked, and the address at which it is opened here
ports     which port a server gets, remembered
tunnel    one ssh to one host
records   what is forwarded now: list, cancel
session   the command: forwards in the foreground, until they are ended
"""
