"""Build and fit the one Pipeline that holds everything learned."""
