"""The one exception that a person is meant to read."""


class LimrError(Exception):
    """Something a person can mend. Its text says what is wrong, where (file, field, row) and what to do.

    The command line prints it as one sentence without a traceback; every other exception is a defect of ours
    and keeps its traceback. A stage that raises it fails with `reason`; BadInput and DoesNotFit are not tried
    again.
    """

    reason = "BadInput"
