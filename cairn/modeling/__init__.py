"""The Pipeline that everything learned is in: made and fitted."""
