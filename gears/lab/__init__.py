"""JupyterLab: its command line, the server extension that listens on the socket, its password, start and stop."""
