"""What is wrong with an input, in one sentence shape: the field, what was got, what is allowed."""

from __future__ import annotations


class BadInput(ValueError):  # noqa: N818 - the name says whose mistake it is
    """Bad input of the user; the command line answers it with exit code 2.

    The message names the field, what was got and what is allowed:
    `installs: got -3 in row 17, whole numbers from 0 are allowed`.
    """


class NoModelError(RuntimeError):
    """An arm is to serve and has no model, since the gate refused each: seen only when it has been tried."""
