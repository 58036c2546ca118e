"""Thousands of connections at once, each recorded as it happened: `python -m tests.attacks.soak`.

Random scenarios of the whole matrix visit one server, round by round. The scenario says what is
true of a connection, and its client what was said; the spans and the log record of the connection,
which its path finds, and the metrics of all of them have to say the same.
"""
