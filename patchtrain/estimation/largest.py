"""The largest number whose estimate still fits a budget, found with few estimates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from patchtrain.estimation.peak import Estimate


def largest_number(
    estimated: Callable[[int], Estimate | None],
    budget_bytes: int,
    low: int,
    high: int,
    *,
    beyond: Estimate | None = None,
    tried: Sequence[int] = (),
    power: int = 1,
) -> int | None:
    """Return the largest number from `low` to `high` whose estimate fits; None where none does.

    Estimates grow with a power of the number, about in a straight line, so the next one to try is
    where the line through two known ones meets the budget.

    Args:
        estimated: None for a number with which nothing can be trained; so small ones may be.
        beyond: that of `high` + 1, if it is known not to fit.
        tried: numbers to start from, beside `low` and its doubles.
    """
    needed = {} if beyond is None else {high + 1: beyond.needed_bytes}

    def fits(number: int) -> bool:
        found = estimated(number)
        if found is not None:
            needed[number] = found.needed_bytes
        return found is not None and found.fits(budget_bytes)

    doubles = (low << power_of_two for power_of_two in range(high.bit_length()))
    fitting = next(
        (n for n in (low, *tried, *doubles) if low <= n <= high and n not in needed and fits(n)), 0
    )
    if not fitting:
        return None
    failing = high + 1
    halve = False
    while failing - fitting > 1:
        known = sorted(number for number in needed if number <= failing)
        below, above = known[-2:] if len(known) > 1 else (fitting, fitting)
        growth = needed[above] - needed[below]
        if halve and failing in needed:
            trying = (fitting + failing) // 2
        elif growth > 0:
            slope = growth / (above**power - below**power)
            room = (budget_bytes - needed[fitting]) / slope
            trying = int((fitting**power + room) ** (1 / power))
        else:
            trying = 2 * fitting
        trying = min(max(trying, fitting + 1), failing - 1)
        if fits(trying):
            fitting = trying
        else:
            failing = trying
        halve = not halve  # a line alone may creep along a curve
    return fitting
