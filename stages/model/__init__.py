"""The Pipeline that everything learned is in: made, searched for, fitted."""
