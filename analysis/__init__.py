"""analysis: what a sweep's recorded trials say. Reads a RUN_DIR; never trains, never searches."""
