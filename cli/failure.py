"""How a command fails: it raises, and `cli.main` prints."""


class CommandFailed(Exception):
    """The command could not do its work; the message says why and what to do. The exit code is 1."""
