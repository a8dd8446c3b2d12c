"""What rules are drawn from by property tests: fields as a rule file writes them."""

from datetime import UTC, datetime

from hypothesis import strategies as st

names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)
amounts = st.integers(min_value=0, max_value=8_000_000_000_000_000).map(
    lambda nanos: f"{nanos // 10**9}.{nanos % 10**9:09d}"
)
calendar_fields = st.fixed_dictionaries(
    {},
    optional={
        "timezone": st.sampled_from(["UTC", "Asia/Kolkata"]),
        "week_start": st.sampled_from(["monday", "sunday"]),
    },
)
rules = st.builds(
    lambda required, optional, calendar: {**required, **optional, **calendar},
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["tier_template", "user_override"]),
            "key": names.filter(lambda name: name != "*"),
            "limit_usd": st.none() | amounts,
        }
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "window": st.sampled_from(["day", "week", "month"]),
            "action": st.sampled_from(["warn", "block", "dry_run"]),
            "alert_thresholds_pct": st.lists(st.integers(1, 100), max_size=20, unique=True),
            "status": st.sampled_from(["active", "disabled"]),
            "on_store_failure": st.sampled_from(["deny", "allow"]) | amounts.map(lambda usd: {"allow_up_to_usd": usd}),
            "wait_for_replica": st.booleans(),
            "on_unpriced": st.sampled_from(["deny", "allow"]) | amounts.map(lambda usd: {"charge_usd": usd}),
            "expires_at": st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds have none
            "note": st.text(st.characters(categories=["L", "N"]), max_size=500),
        },
    ),
    calendar_fields,
)
