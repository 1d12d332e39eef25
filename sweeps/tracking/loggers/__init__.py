"""Ray's loggers, one in each file, with a function `make_logger(sweep, out)`.

They add how a trial ended (`status` of its view), which Ray does not log. A file is imported only
when its logger is asked for, since it imports the tracker. Knows nothing of trials and results.
"""
