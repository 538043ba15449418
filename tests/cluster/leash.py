"""`python leash.py PARENT PROGRAM ARGUMENTS…`: becomes the program, which then ends when process PARENT does."""

import os
import sys

from limr.lifeline import die_with_parent

if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
