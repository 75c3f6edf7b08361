"""Run work on the cores of this machine, or on a Dask cluster."""
