"""Experiments on a cluster from the command line: `limr status`, or `kubectl limr status`.

Everything goes through kubectl itself, so that logins, proxies and contexts are those of the person's other commands.
"""
