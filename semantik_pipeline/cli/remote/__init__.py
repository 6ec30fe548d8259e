"""Commands that run on a server. Each uses the client where its counterpart in ``cli`` uses the core.

The answers are the same. Heavy modules (settings, ledger, numpy) are not imported unless a command needs them.
"""
