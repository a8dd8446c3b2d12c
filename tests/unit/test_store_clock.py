"""The store's time as a sidecar knows it."""

from sidecar.store_clock import StoreClock


def test_the_wall_clock_is_believed_until_the_store_has_spoken() -> None:
    """A start without the store has some time."""
    clock = StoreClock(wall_ms=lambda: 5_000.0, monotonic_ms=lambda: 100.0)
    assert 5_000 == clock.now_ms()


def test_the_stores_time_is_carried_on_by_the_monotonic_clock() -> None:
    """A wall clock that jumps changes nothing."""
    monotonic = [100.0]
    clock = StoreClock(wall_ms=lambda: 5_000.0, monotonic_ms=lambda: monotonic[0])
    clock.observe(9_000)
    monotonic[0] = 350.0
    assert 9_250 == clock.now_ms()
