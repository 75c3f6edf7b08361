"""HTTP: routes, protocol, OpenAPI, errors, keys."""
