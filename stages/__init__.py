"""What DVC runs: one module a stage, each of which reads, calls the library, and writes.

raw, processed, features, train are stages of dvc.yaml; `engineering` is the user's own features.
"""
