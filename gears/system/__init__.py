"""One module per outside thing: other programs, processes, files, tmux, this host, its ports, the time."""
