"""Clients that mean harm, and what has to hold whatever they send.

`python -m tests.attacks.hostile --seed 1 --frames 100000` besieges a server with raw frames,
`--tls` over TLS; the tests here do the same in little.
"""
