"""Ray Tune sweeps that hold every trial to a memory budget; knows nothing of reports and plots."""
