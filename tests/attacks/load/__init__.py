"""Nothing lost under load: `python -m tests.attacks.load`.

A server process holds thousands of connections, of which some are busy, while others connect and
vanish, hundreds a second. The clients, processes of their own as well, know what they did; spans
and metrics have to say exactly that, and nothing may be left of it.
"""
