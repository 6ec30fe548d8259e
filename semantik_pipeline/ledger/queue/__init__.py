"""The queue of units, which are documents in generations: claims and leases, fair shares, what dead workers leave
behind, and the workers themselves."""
