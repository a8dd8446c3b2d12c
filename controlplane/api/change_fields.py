"""Changes of the rules on the wire: in the audit trail, in previews, in diffs."""

from typing import Any, Final

from ledger.rule_changes import DocumentSwap, RuleChange, RuleDelta
from ledger.windows import rfc3339

MAX_CHANGES_SHOWN: Final = 100


def change_fields(change: RuleChange) -> dict[str, Any]:
    """Return one entry of the trail; of many changed rules the first 100, and how many there were."""
    counts = change.counts
    return {
        "revision": change.revision,
        "at": rfc3339(change.at_ms),
        "actor": change.actor,
        "note": change.note,
        "kind": change.kind,
        "counts": {"added": counts.added, "changed": counts.changed, "removed": counts.removed},
        "changes": [delta_fields(delta) for delta in change.deltas[:MAX_CHANGES_SHOWN]],
        "settings": swap_fields(change.settings),
        "prices_changed": change.price_versions is not None,
        "price_versions": version_fields(change.price_versions),
        "truncated": change.truncated or len(change.deltas) > MAX_CHANGES_SHOWN,
    }


def delta_fields(delta: RuleDelta) -> dict[str, Any]:
    """Return one rule before and after, null where it was not there."""
    return {"id": delta.id, "before": delta.before, "after": delta.after}


def version_fields(versions: tuple[str, str] | None) -> dict[str, str] | None:
    """Return the versions of the prices before and after, empty for none at all; null if they did not change."""
    return None if versions is None else {"before": versions[0], "after": versions[1]}


def swap_fields(swap: DocumentSwap | None) -> dict[str, Any] | None:
    """Return settings before and after, null if they did not change."""
    return None if swap is None else {"before": swap.before, "after": swap.after}
