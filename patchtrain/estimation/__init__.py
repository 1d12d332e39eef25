"""Predicts what a trial will hold before it is launched: runs the engine, without its memory."""
