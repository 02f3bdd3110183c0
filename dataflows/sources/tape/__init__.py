"""What a tape of files holds besides bars: quotes, reference data, news, fundamentals."""

from dataflows.sources.tape.tape import Tape, TapeFiles

__all__ = ["Tape", "TapeFiles"]
