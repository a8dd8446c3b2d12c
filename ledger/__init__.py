"""The shared core: what a budget is, and the Redis ledger that runs the scripts in ``lua/``."""
