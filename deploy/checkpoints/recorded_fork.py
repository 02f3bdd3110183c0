"""Fork the recording of a platform from the newest checkpoint before the change, or from the first message."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from dataflows.replay.checkpoint_books import read_books_at
from dataflows.replay.checkpoint_replay import open_replay
from dataflows.replay.fork import ForkComparison, Progress, fork, fork_from_checkpoint
from dataflows.replay.recording import open_recording
from deploy.checkpoints.selection import OnSkipped, newest_checkpoint

if TYPE_CHECKING:
    from configs.settings import Settings
    from dataflows.replay.recorded_source import RecordedSource
    from dataflows.replay.settings_change import SettingsChange
    from deploy.home import Home


def fork_recorded(
    home: Home,
    before: Settings,
    change: SettingsChange,
    source: RecordedSource,
    *,
    reader: str,
    from_start: bool,
    skipped: OnSkipped,
    progress: Progress = lambda _: None,
) -> ForkComparison:
    """Replay the topics with the change. `before` are the settings before the first recorded configuration.

    `reader` names this process in Kafka. `skipped` receives a sentence about each checkpoint that cannot be used.
    Raises BadInput and Unavailable.
    """
    # Strictly before the change, so that its first time slice is replayed.
    start = None if from_start else newest_checkpoint(home, before, change.at_ns - 1, skipped, source)
    if start is None:
        with closing(open_recording(before.kafka, reader)) as recording:
            return fork(before, change, recording, progress, source)
    books = read_books_at(before, start)
    with closing(open_replay(before, start, source, change, reader)) as replay:
        return fork_from_checkpoint(replay, change, start.checkpoint_id, books, progress)
