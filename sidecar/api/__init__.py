"""HTTP in and out: routes, the wire format, problems."""
