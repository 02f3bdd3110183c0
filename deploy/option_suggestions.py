"""Errors of the command line in plain words, with the nearest option or choice. typer itself suggests commands."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperGroup

from schemas.suggestions import did_you_mean

_CHOICES = re.compile(r"(?s)'(?P<found>.*)' is not one of (?P<choices>'.*')\.")


class SuggestingGroup(TyperGroup):
    """A root command that improves the errors for options and arguments, its own or those of any subcommand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            _improve(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            _improve(error)
            raise


def _improve(error: Any) -> None:
    if isinstance(error, typer.BadParameter):
        error.message = plain_message(error.message)
    # typer does not export `NoSuchOption`, so its attributes identify it.
    elif hasattr(error, "possibilities") and getattr(error, "ctx", None) is not None:
        _suggest_option(error)


def plain_message(message: str) -> str:
    """Return typer's message for an invalid value in the words of this project.

    >>> plain_message("Value error, 'trade' is not one of 'viewer', 'trader'.")
    "must be one of viewer, trader, found 'trade'; did you mean trader?"
    >>> plain_message("Input should be greater than or equal to 1")
    'must be greater than or equal to 1'
    """
    text = message.removeprefix("Value error, ").replace("Input should be", "must be")
    match = _CHOICES.fullmatch(text)
    if match is None:
        return text
    choices = re.findall("'([^']*)'", match["choices"])
    return f"must be one of {', '.join(choices)}, found {match['found']!r}{did_you_mean(match['found'], choices)}"


def _suggest_option(error: Any) -> None:
    """Extend the message for an unknown option with the nearest one."""
    options = [name for parameter in error.ctx.command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    named_options = [name for name in [*options, "--help"] if name.startswith("-")]
    error.message += did_you_mean(error.option_name, named_options)
    error.possibilities = None
