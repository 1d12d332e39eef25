"""Memory: the meter that counts it, the guards that enforce a budget, the driver's reports."""
