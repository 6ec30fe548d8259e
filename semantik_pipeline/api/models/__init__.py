"""What callers send and get, with examples: one module for each resource."""
