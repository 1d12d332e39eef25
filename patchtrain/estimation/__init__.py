"""What a trial will hold, known before it is launched. Runs the engine, without its memory."""
