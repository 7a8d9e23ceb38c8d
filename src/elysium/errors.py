"""The one exception whose message is meant for the user."""


class UserError(Exception):
    """Bad input or configuration: the command prints the message as one line and exits with 2.

    The message says what is wrong, where (file, line or key) and what to do.
    """
