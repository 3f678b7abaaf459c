"""JupyterLab itself: its command line, the settings it uses, the server extension, its password."""
