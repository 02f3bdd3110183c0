"""Suggest the nearest option for an unknown one on the command line. typer itself suggests commands."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from schemas.suggestions import did_you_mean


class SuggestingGroup(TyperGroup):
    """A root command that extends the error for an unknown option, its own or one of any subcommand."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            _suggest_option(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            _suggest_option(error)
            raise


def _suggest_option(error: Any) -> None:
    """Extend the message of typer's `NoSuchOption`. typer does not export that class, so its attributes identify it."""
    if not hasattr(error, "possibilities") or getattr(error, "ctx", None) is None:
        return
    options = [name for parameter in error.ctx.command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    named_options = [name for name in [*options, "--help"] if name.startswith("-")]
    error.message += did_you_mean(error.option_name, named_options)
    error.possibilities = None
