"""Ray's loggers, one a file, each with `make_logger(sweep, out)`.

Each adds how a trial ended (`status` of the view that it is given), which Ray's do not log. Each is
imported once it is asked for, as it imports its tracker. Knows nothing of trials and results.
"""
