"""Memory: budgets people write, the meter that observes, the guard that enforces."""
