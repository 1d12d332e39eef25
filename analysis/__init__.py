"""analysis: reports on a sweep's recorded trials. Reads RUN_DIRs; never trains, never searches."""
