"""What the library may cost, and what it aims at."""

from dataclasses import dataclass
from typing import Final

from tests.benchmarks.arms import BOTH, BOTH_WITHOUT_PHASES, MIXIN, Arm
from tests.benchmarks.pipes import Tracing


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of some arms for one measure, in its unit, beside their baseline."""

    measure: str
    subjects: tuple[str, ...]
    tracings: tuple[Tracing, ...]
    ceiling: float
    aim: float


SAMPLED: Final = (Tracing.SAMPLED,)
NOT_SAMPLED: Final = (Tracing.UNSAMPLED, Tracing.NO_OP, Tracing.NO_SDK)
WITH_SDK: Final = (Tracing.SAMPLED, Tracing.UNSAMPLED)
BOTHS: Final = (BOTH, BOTH_WITHOUT_PHASES)

BUDGETS: Final = (
    Budget("next", (MIXIN,), SAMPLED, 1.06, 1.03),
    Budget("next", BOTHS, SAMPLED, 1.07, 1.04),
    Budget("next", (MIXIN,), NOT_SAMPLED, 1.05, 1.02),
    Budget("next", BOTHS, NOT_SAMPLED, 1.05, 1.03),
    Budget("subscription", BOTHS, SAMPLED, 1.20, 1.15),
    Budget("subscription_own", BOTHS, SAMPLED, 1.00, 0.97),
    Budget("subscription", BOTHS, NOT_SAMPLED, 1.08, 1.05),
    Budget("connection", BOTHS, SAMPLED, 250, 125),
    Budget("connection", BOTHS, NOT_SAMPLED, 142, 71),
    Budget("idle", (MIXIN, BOTH), WITH_SDK, 6, 4),
    # Buffers of the loop move it by some KiB; a byte for each message would be a thousand.
    Budget("growth", (BOTH,), WITH_SDK, 64, 16),
    Budget("open", (BOTH,), SAMPLED, 50, 25),
    # The SDK's queue has 2,048 places.
    *(Budget(f"segments_{n}_queue", (BOTH,), SAMPLED, 2000, 1000) for n in (0, 1)),
    *(Budget(f"segments_{n}_longest", (BOTH,), SAMPLED, 10, 5) for n in (0, 1)),
)


def budget(measure: str, arm: Arm) -> Budget | None:
    """The budget of an arm for a measure, if it has one."""
    found = [
        each
        for each in BUDGETS
        if each.measure == measure
        and arm.subject.name in each.subjects
        and arm.tracing in each.tracings
    ]
    return found[0] if found else None
