"""What a forked child must make anew: locks that a thread of the parent may hold, and sockets that it shares."""

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Something with state that belongs to one process."""

    def after_fork(self) -> None:
        """Begin anew in the child; take no lock that existed before."""


_members: "weakref.WeakSet[Forked]" = weakref.WeakSet()


def join(member: Forked) -> None:
    """Have `member` told in every child that this process forks, as long as it lives."""
    _members.add(member)


def _tell_all() -> None:
    for member in list(_members):
        member.after_fork()


os.register_at_fork(after_in_child=_tell_all)
