"""Ten ways in which SDKs that count spend have let it through or lost it, over the real things: each passes here."""

import json
import math
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from secrets import token_hex

import openai
import pytest
from spendgate import BudgetWarning, InvalidAmountError, LLMBudgetExceededError, Spendgate, UserUsage
from spendgate.providers import wrap

from tests.sdk.providers.conftest import PATIENT
from tests.support.fake_provider import FakeProvider
from tests.support.fake_replies import Tokens
from tests.support.near_midnight import zone_whose_day_ends_in
from tests.support.processes import running_sidecar, running_sidecars, template, write_rules
from tests.support.provider_apps import CHAT, App
from tests.support.service_thread import sidecar_in_a_thread

PUSH_TOKEN = "push-me-if-you-can"
ONE_USD = [template("tight", 1, window="day")]


@pytest.fixture
def workspace() -> str:
    """A ledger of a test's own."""
    return f"ten-{token_hex(4)}"


def _gate(url: str, directory: Path, **options: object) -> Spendgate:
    return Spendgate(url, journal_dir=directory / "journal", timeout_s=30, tier="tight", **options)  # type: ignore[arg-type]


def _admitted(gates: list[Spendgate], user: str, calls: int, cost_usd: str) -> int:
    """Make calls at the same time, over the gates in turn; returns how many were admitted."""
    start = threading.Barrier(calls)

    def call(number: int) -> bool:
        start.wait()
        try:
            with gates[number % len(gates)].hold(user, estimate_usd=cost_usd) as hold:
                hold.settle(cost_usd=cost_usd)
        except LLMBudgetExceededError:
            return False
        return True

    with ThreadPoolExecutor(calls) as pool:
        return sum(pool.map(call, range(calls)))


def _day(usage: UserUsage) -> Decimal:
    return usage.windows[0].spend_usd


def test_1_a_race_of_50_calls_of_a_dollar_on_a_limit_of_a_dollar(app: App, user: str) -> None:
    """One is admitted: reading a counter and adding to it later would have let through all."""
    gate = app.reader.telling(None)

    def call() -> bool:
        try:
            gate.check(user, cost_usd=1, tier="tight")
        except LLMBudgetExceededError:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        admitted = sum(pool.map(lambda _: call(), range(50)))

    assert (1, 1) == (admitted, app.spent(user))


def test_2_a_restart_forgets_nothing(valkey_url: str, tmp_path: Path, workspace: str, user: str) -> None:
    """Counters in a process's memory begin at zero."""
    rules = write_rules(tmp_path / "rules.json", *ONE_USD)
    for number in range(2):
        with (
            running_sidecar(tmp_path / str(number), valkey_url, rules, workspace=workspace, **PATIENT) as sidecar,
            _gate(sidecar.url, tmp_path) as gate,
        ):
            gate.check(user, cost_usd="0.5")
            spent = _day(gate.usage(user))

    assert 1 == spent


def test_3_two_processes_share_one_limit(valkey_url: str, tmp_path: Path, workspace: str, user: str) -> None:
    """Counters of each process let through a limit for each."""
    rules = write_rules(tmp_path / "rules.json", *ONE_USD)
    with running_sidecars(2, tmp_path, valkey_url, rules, workspace=workspace, **PATIENT) as sidecars:
        gates = [_gate(sidecar.url, tmp_path) for sidecar in sidecars]
        admitted = _admitted(gates, user, 40, "0.1")
        spent = [_day(gate.usage(user)) for gate in gates]
        for gate in gates:
            gate.close()

    assert (10, [1, 1]) == (admitted, spent)


def test_4_an_unknown_model_is_not_free(app: App, provider: FakeProvider, user: str) -> None:
    """What has no price is refused where the rule says so, and counted nowhere as nothing."""
    client = app.openai(user, tier="tight")

    with pytest.raises(LLMBudgetExceededError) as refused:
        app.do(client.chat.completions.create(**CHAT | {"model": "nobody-knows-me"}))

    assert ("unpriced", []) == (refused.value.reason, provider.seen)


def test_5_cached_tokens_have_their_own_price(app: App, provider: FakeProvider, user: str) -> None:
    """They cost a tenth here: counted as input they would be 1.00 USD, left out nothing."""
    provider.answers.tokens = Tokens(input=0, cache_read=1000, output=0)

    app.do(app.openai(user).chat.completions.create(**CHAT))

    assert Decimal("0.1") == app.spent(user)


def test_6_ten_calls_of_ten_cents_make_a_dollar(app: App, user: str) -> None:
    """In floating point they make 0.9999999999999999, and there is room for one more."""
    for _ in range(10):
        app.reader.check(user, cost_usd=0.1, tier="tight")

    with pytest.raises(LLMBudgetExceededError):
        app.reader.check(user, cost_usd=0.1, tier="tight")
    assert 1 == app.spent(user)


def test_7_a_call_across_midnight_is_paid_by_the_day_that_admitted_it(
    valkey_url: str, tmp_path: Path, workspace: str, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Charged to the day in which it ends, it would use up a budget that never admitted it."""
    for seconds in (4, 8, 16):
        zone = zone_whose_day_ends_in(seconds, tmp_path / "zones", monkeypatch)
        rules = write_rules(tmp_path / f"rules-{seconds}.json", *ONE_USD, timezone=zone)
        settings = {"workspace": f"{workspace}-{seconds}", "rules": rules, **PATIENT}
        with sidecar_in_a_thread(tmp_path / str(seconds), valkey_url, **settings) as listeners:
            gate = _gate(listeners.decision_url, tmp_path)
            hold = gate.reserve(user, estimate_usd="0.5")
            ends = hold.decision.resets_at
            assert ends is not None
            if ends - datetime.now(UTC) > timedelta(seconds=seconds):
                hold.release()
                gate.close()
                continue  # the day ended before the sidecar was there
            for _ in _until(ends):
                pass
            hold.settle(cost_usd="0.75")
            tomorrow = gate.usage(user).windows[0]
            gate.close()
            assert (ends, 0, 0) == (tomorrow.window_start, tomorrow.spend_usd, tomorrow.held_usd)
            return
    raise AssertionError("no sidecar started within its day")


def _until(moment: datetime) -> Iterator[None]:
    waits = threading.Event()
    while datetime.now(UTC) <= moment:
        waits.wait(0.05)
        yield


def test_8_a_callback_that_throws_breaks_no_call(app: App, user: str) -> None:
    """It is the app's own mistake, and it is in the log."""

    def throw(warning: BudgetWarning) -> None:
        raise RuntimeError(warning.kind)

    client = wrap(app.bare_openai, app.gate.telling(throw), user_id=user, tier="warned")

    assert 6 == len([app.do(client.chat.completions.create(**CHAT)) for _ in range(6)])
    assert Decimal("0.54") == app.spent(user)


@pytest.mark.parametrize("limit", ["NaN", "Infinity", "-1"])
def test_9_a_limit_that_is_no_number_is_refused(
    valkey_url: str, tmp_path: Path, workspace: str, user: str, limit: str
) -> None:
    """Every comparison with NaN is false, so a budget of NaN stops nothing: it must not get in force."""
    statuses = []
    with running_sidecar(tmp_path, valkey_url, None, workspace=workspace, push_token=PUSH_TOKEN, **PATIENT) as sidecar:
        for revision, amount in ((1, "1"), (2, limit)):
            rule = json.dumps(ONE_USD[0]).replace('"limit_usd": 1', f'"limit_usd": {amount}')
            body = f'{{"revision": {revision}, "workspace": {{}}, "rules": [{rule}]}}'
            statuses.append(_put(f"{sidecar.url}/v1/rules", body.encode()))
        with _gate(sidecar.url, tmp_path) as gate:
            gate.check(user, cost_usd=1)
            with pytest.raises(LLMBudgetExceededError):
                gate.check(user, cost_usd=1)
            with pytest.raises(InvalidAmountError):
                gate.check(user, cost_usd=math.nan)

    assert [200, 400] == statuses


def _put(url: str, body: bytes) -> int:
    headers = {"Authorization": f"Bearer {PUSH_TOKEN}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method="PUT")
    try:
        with urllib.request.urlopen(request) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_10_a_stream_is_left_to_its_reader(app: App, provider: FakeProvider, user: str) -> None:
    """An SDK that reads a stream to count it leaves nothing; one that does not read it counts nothing."""
    stream = app.do(app.openai(user).chat.completions.create(**CHAT, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in app.read(stream))

    assert isinstance(stream, openai.Stream | openai.AsyncStream)
    assert "".join(provider.answers.words) == text
    assert Decimal("0.09") == app.spent(user)
