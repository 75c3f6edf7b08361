"""The library that the stages and the service share; it imports neither of them.

The serving core (contract, transform, inference, provenance, formats, paths, console) needs only
NumPy, pydantic and ONNX Runtime. The packages are for the pipeline: params, sources, tables,
modeling, export, evaluation, compute, releases.
"""
