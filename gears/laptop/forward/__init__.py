"""`gears forward`, on a laptop: forward the user's Jupyter servers and Dask dashboards on other hosts to local ports.

discover  runs on the remote host: finds the servers
servers   what was found, validated, with the local address of each
tunnel    one ssh to one host
records   what is forwarded now (list, cancel), and the port of each server
session   the command: forwards in the foreground, until interrupted
"""
