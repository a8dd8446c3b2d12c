"""Calls the app's `on_budget_warning`. What it raises is logged and never reaches the call that caused it."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Iterable

from spendgate.budget_warning import BudgetWarning, OnBudgetWarning

log = logging.getLogger("spendgate")

_running: set["asyncio.Task[None]"] = set()
"""Tasks of callbacks: an event loop alone holds them weakly."""


def tell(callback: OnBudgetWarning | None, warnings: Iterable[BudgetWarning]) -> None:
    """Call it from blocking code. What it wants awaited runs on this thread's loop, or on one of its own."""
    for warning in warnings:
        awaited = _call(callback, warning)
        if awaited is None:
            continue
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(_finish(awaited))
        else:
            task = loop.create_task(_finish(awaited))
            _running.add(task)
            task.add_done_callback(_running.discard)


async def tell_async(callback: OnBudgetWarning | None, warnings: Iterable[BudgetWarning]) -> None:
    """Call it from a coroutine, and await what it wants awaited."""
    for warning in warnings:
        awaited = _call(callback, warning)
        if awaited is not None:
            await _finish(awaited)


def _call(callback: OnBudgetWarning | None, warning: BudgetWarning) -> Awaitable[object] | None:
    log.warning(
        "user %s: %s %s, $%s spent of $%s a %s",
        *(warning.user_id, warning.kind, warning.threshold_pct or "", warning.spend_usd, warning.limit_usd),
        warning.budget.window,
    )
    if callback is None:
        return None
    try:
        result = callback(warning)
    except Exception:
        log.exception("on_budget_warning failed")
        return None
    return result if inspect.isawaitable(result) else None


async def _finish(awaited: Awaitable[object]) -> None:
    try:
        await awaited
    except Exception:
        log.exception("on_budget_warning failed")
