"""How Hypothesis tries examples here: as it does by default or in CI, but none fails for having been slow.

Its default is 200 ms an example, and little more for making the first ones: a machine that stalls takes longer.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unhurried", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")
