"""The library that stages and service share; it imports neither."""
