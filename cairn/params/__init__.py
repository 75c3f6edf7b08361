"""params.yaml as frozen, strict, typed models: one module for each of its top-level keys.

A stage imports the models of the keys that it reads and no others, so that a new key of `train`
does not rerun `raw`: a stage's code is among its DVC deps.
"""
