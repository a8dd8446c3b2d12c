"""A client of a provider, copied so that the copy can be wrapped and the original stays as it is."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

ClientT = TypeVar("ClientT")
Method = Callable[..., Any]

HOOKS: Final = ("_prepare_request", "_sleep_for_retry")
REPLACED: Final = ("post", "copy", "with_options", *HOOKS)
PACKAGES: Final = ("openai", "anthropic")


def fresh(client: ClientT) -> ClientT:
    """Return a copy that shares the connections, without the resources that the original made for itself.

    What an earlier wrapping replaced is the class's own again.
    """
    copied = copy.copy(client)
    for name in list(vars(copied)):
        if name in REPLACED or isinstance(inspect.getattr_static(type(copied), name, None), cached_property):
            delattr(copied, name)
    return copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """The methods of a client's own class that are replaced, bound to the client.

    `prepare_request` and `sleep_for_retry` are no public ones: a version of a package that calls them otherwise, or not
    at all, is wrapped without them, and every failure counts as one of unknown outcome.
    """

    post: Method
    copy: Method
    prepare_request: Method
    sleep_for_retry: Method
    are_watchable: bool

    @classmethod
    def of(cls, client: Any) -> "Methods":
        """Return those of a client."""
        kind = type(client)
        hooks = [getattr(kind, name, None) for name in HOOKS]
        are_watchable = all(hook is not None for hook in hooks)
        prepare_request, sleep_for_retry = (hook.__get__(client) if are_watchable and hook else _none for hook in hooks)
        return cls(
            post=kind.post.__get__(client),
            copy=kind.copy.__get__(client),
            prepare_request=prepare_request,
            sleep_for_retry=sleep_for_retry,
            are_watchable=are_watchable,
        )


def install(client: Any, own: Methods, new: Any) -> None:
    """Replace the methods of this instance. Its class stays what it was."""
    client.post = new.post
    client.copy = client.with_options = new.copy
    if own.are_watchable:
        client._prepare_request = new.prepare_request  # noqa: SLF001 - see `Methods`
        client._sleep_for_retry = new.sleep_for_retry  # noqa: SLF001


def package_of(client: object) -> str:
    """Return the package that a client is of; raises `TypeError` for what is none."""
    for kind in type(client).__mro__:
        package = kind.__module__.partition(".")[0]
        if package in PACKAGES and hasattr(kind, "post"):
            return package
    raise TypeError(f"{type(client).__name__} is no client of {' or '.join(PACKAGES)}")


def is_async(client: Any) -> bool:
    """Tell whether a provider's client awaits; raises `TypeError` for what is none."""
    package_of(client)
    return inspect.iscoroutinefunction(type(client).post)


def _none(*_arguments: object, **_options: object) -> None:
    """Stand in for a method that this version does not have."""
