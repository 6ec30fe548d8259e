"""Commands by a server: each asks the client what its twin in ``cli`` asks the core, and answers the same.

Nothing heavy is imported on this way: no settings, no ledger, no numbers.
"""
