"""JupyterLab as a batch job: its script, submission, record and end."""
