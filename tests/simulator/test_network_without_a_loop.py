"""The network for callers that have no event loop of their own."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from flaskapp.simulator.background import BackgroundNetwork
from flaskapp.simulator.network import Network, place_calls
from flaskapp.simulator.spec import CallSpec


def test_calls_are_placed_on_a_network_that_lives_as_long_as_they_do():
    first, second = place_calls([CallSpec(url="http://127.0.0.1:9/a"), CallSpec(url="http://127.0.0.1:9/b")])
    assert (first.status, second.status) == ("failed", "failed")
    assert first.webhooks[0].url.endswith("/a")


def test_a_network_on_a_thread_serves_its_api_while_the_test_goes_on():
    with BackgroundNetwork() as network:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{network.api_url}/2010-04-01/Accounts/AC1.json")
        assert refused.value.code == 401
        assert network.place_call(CallSpec(url="http://127.0.0.1:9/a")).answered is False
        assert len(network.network.calls) == 1


async def test_a_call_without_any_url_is_a_mistake_of_the_test():
    async with Network() as network:
        with pytest.raises(ValueError, match="none configured"):
            await network.place_call(CallSpec(to_number="+1"))
    with pytest.raises(RuntimeError):
        await Network().place_call(CallSpec(url="http://127.0.0.1:9"))
