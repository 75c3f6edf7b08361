"""The processes of the service: supervisor, workers, lifecycle, settings."""
