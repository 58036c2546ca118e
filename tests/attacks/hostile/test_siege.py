"""A small siege: whatever clients send, every connection is recorded once, and nobody is paged."""

import logging
from collections.abc import Iterator

import pytest

from tests.attacks.hostile.siege import HOST_LOGS, VARIANTS, Siege, besieged
from tests.support.event_loop import Run
from tests.support.garbage import living
from tests.support.tls import TLS

pytestmark = [
    pytest.mark.slow,
    # Tasks of older hosts die of what a client sends, and nobody asks what of.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

FRAMES = 1000


@pytest.fixture(autouse=True)
def _silent_host() -> Iterator[None]:
    """The host reports every exception, with a traceback through a thousand brackets."""
    loggers = [logging.getLogger(logger) for logger in HOST_LOGS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


async def besiege(seed: int, variant: str, tls: TLS | None) -> Siege:
    async with besieged(seed, variant, tls) as siege:
        await siege.run(FRAMES)
    return siege


SECURE = TLS.make()


@pytest.mark.parametrize(
    ("seed", "variant", "tls"),
    [
        *((seed, variant, None) for seed, variant in enumerate(VARIANTS, start=1)),
        (1, next(iter(VARIANTS)), SECURE),
        *(
            pytest.param(seed, variant, SECURE, marks=pytest.mark.matrix)
            for seed, variant in list(enumerate(VARIANTS, start=1))[1:]
        ),
    ],
    ids=lambda value: "TLS" if value is SECURE else None,
)
def test_hostile_frames_leave_nothing_behind_and_nothing_unrecorded(
    seed: int, variant: str, tls: TLS | None, run: Run[Siege]
) -> None:
    before = living()
    siege = run(besiege(seed, variant, tls))
    assert dict(siege.books.complaints) == {}
    assert siege.books.outcomes.total() == siege.books.handshakes > 100
    assert siege.books.reasons.total() > 100
    assert len(siege.books.outcomes) > 5
    assert len(siege.books.reasons) > 3
    assert bool(siege.books.continued) is (variant == "segments")
    assert living() == before
