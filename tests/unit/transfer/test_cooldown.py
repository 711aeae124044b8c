"""What one job was told holds for every job of that origin, and for nobody else."""

import pytest

from arwd import errors
from arwd.transfer.cooldown import Cooldown

BUSY = errors.ServerBusy("busy", 503)
MANY = errors.TooManyRequests("too many", 429)
URL = "https://h.example/a.gguf?token=x"


@pytest.mark.parametrize("url", [URL, "https://h.example/b", "https://H.example:443/", "HTTPS://h.example"])
def test_every_url_of_the_origin_is_left_alone_until_then(url: str) -> None:
    cooldown = Cooldown()
    cooldown.begin(URL, MANY, until=20.0, now=10.0)
    cool = cooldown.of(url, after=10.0)
    assert cool is not None
    assert (cool.until, cool.error) == (20.0, MANY)
    assert cooldown.of(url, after=20.0) is None


@pytest.mark.parametrize("url", ["http://h.example/a.gguf", "https://h.example:8443/a.gguf", "https://x.h.example/"])
def test_other_origins_are_not(url: str) -> None:
    cooldown = Cooldown()
    cooldown.begin(URL, MANY, until=20.0, now=10.0)
    assert cooldown.of(url, after=0.0) is None


def test_the_longer_wish_counts() -> None:
    cooldown = Cooldown()
    cooldown.begin(URL, MANY, until=20.0, now=10.0)
    cooldown.begin(URL, BUSY, until=15.0, now=11.0)
    cool = cooldown.of(URL, after=11.0)
    assert cool is not None
    assert cool.error is MANY
    cooldown.begin(URL, BUSY, until=30.0, now=12.0)
    cool = cooldown.of(URL, after=12.0)
    assert cool is not None
    assert (cool.until, cool.error) == (30.0, BUSY)


def test_origins_that_may_be_asked_again_are_forgotten() -> None:
    cooldown = Cooldown()
    for number in range(100):
        cooldown.begin(f"https://h{number}.example/", BUSY, until=number + 1.0, now=float(number))
    assert [number for number in range(100) if cooldown.of(f"https://h{number}.example/", after=0.0)] == [99]
