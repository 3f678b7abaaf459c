"""What runs under the Python of any environment: the standard library, and what that environment has of Dask."""
