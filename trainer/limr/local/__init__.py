"""A whole experiment on this machine: one stage after the other, each in a process of its own."""
