"""Code for the Python of any environment: imports only the standard library and that environment's Dask."""
