"""The library that the stages and the service share; it imports neither of them.

The serving core (contract, transform, inference, provenance, formats, paths, console) rests on
NumPy, pydantic and ONNX Runtime alone. The packages are for the pipeline: params, sources, tables,
modeling, export, evaluation, compute, releases.
"""
