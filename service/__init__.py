"""The BentoML service: what runs in the container, without pandas and scikit-learn.

http        routes, protocol, OpenAPI, errors, keys
inference   from the rows of a request to predictions
process     supervisor, workers, lifecycle, settings
telemetry   logs and metrics
bento       what BentoML stores and packs
page        the page at /
"""
