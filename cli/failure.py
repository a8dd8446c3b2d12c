"""How a command fails: it raises, and `cli.main` prints."""


class CommandFailed(Exception):
    """The command could not do its work; the message says why and what to do. The exit code is 1."""


class WrongUsage(CommandFailed):
    """The command was told something that makes no sense. The exit code is 2."""
