"""The ledgers that the suite of this directory runs against."""

import pytest

from tests.support.ledger_under_test import LedgerUnderTest, memory_under_test

FACTORIES = {"memory": memory_under_test}


@pytest.fixture(params=sorted(FACTORIES))
def ledger(request: pytest.FixtureRequest) -> LedgerUnderTest:
    """A fresh ledger of each kind, its clock at 2026-01-31 12:00 UTC."""
    return FACTORIES[request.param]()
