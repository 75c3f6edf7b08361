"""Attacks on the real service: each is bounded, and each ends with a right answer to somebody else.

Why a body or a header is refused is tested in tests/service/; here it counts that nothing that a
client can send breaks the service, its framing, or its answers to others.
"""
