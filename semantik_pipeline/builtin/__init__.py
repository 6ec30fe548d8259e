"""The plugins that come with the package."""

import os

#: How often an idle thread of torch's OpenMP looks for work before it sleeps. torch reads it when it is imported. By
#: default, a thread looks 300,000 times, for a millisecond or more after a query was embedded, on a core that the
#: search needs by then (docs/decisions.md).
SPINS = 10_000

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
