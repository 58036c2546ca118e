"""What the library costs, beside the same server without it: `python -m tests.benchmarks`.

A server process holds every arm of the comparison on a port of its own; a client in another process
asks for work, round by round, in alternating order. The price of a round is the CPU time of the
server process, system calls included; the price of an arm is the lowest decile of its rounds. All
of it is done in several processes, since hash seed and memory layout move a figure by 3 %.
"""
