"""The pipeline: raw, processed, features, train, and what they share."""
