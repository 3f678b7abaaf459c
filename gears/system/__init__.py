"""One module per system interface: programs, processes, files, tmux, this host, its ports, the time."""
