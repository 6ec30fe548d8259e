"""The queue of units (documents in generations): claims, leases, fair shares, expired leases, and worker processes."""
