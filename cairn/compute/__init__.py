"""Where the work runs: cores of this machine, or a Dask cluster."""
