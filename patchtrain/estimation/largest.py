"""The largest number whose estimate still fits a budget, found with few estimates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
    """Return the largest number from `low` to `high` whose estimate fits; None if none does.

    Estimates grow about linearly with a power of the number, so the next number to try is where the
    line through two known estimates meets the budget.

    Args:
        estimated: the estimate for a number; None if nothing can be trained with that number, as
            may be with small ones.
        beyond: the estimate for `high` + 1, if it is known not to fit.
        tried: numbers to start from, besides `low` and its doubles.
        power: the power with which estimates grow.
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
        if halve and failing in needed:
            trying = (fitting + failing) // 2
        else:
            trying = _where_the_line_meets(budget_bytes, needed, fitting, failing, power)
        trying = min(max(trying, fitting + 1), failing - 1)
        if fits(trying):
            fitting = trying
        else:
            failing = trying
        halve = not halve  # lines alone may creep along a curve
    return fitting


def _where_the_line_meets(
    budget_bytes: int, needed: Mapping[int, int], fitting: int, failing: int, power: int
) -> int:
    """Return the number at which the line through the two largest known estimates up to `failing`
    meets the budget; twice `fitting` if there is no such line.
    """
    known = sorted(number for number in needed if number <= failing)
    below, above = known[-2:] if len(known) > 1 else (fitting, fitting)
    growth = needed[above] - needed[below]
    if growth <= 0:
        return 2 * fitting
    slope = growth / (above**power - below**power)
    room = (budget_bytes - needed[fitting]) / slope
    return int((fitting**power + room) ** (1 / power))
