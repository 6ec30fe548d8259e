"""Models of request and response bodies, with examples: one module for each resource."""
