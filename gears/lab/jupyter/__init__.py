"""JupyterLab itself: its command line, the settings it takes, the server extension, its password."""
