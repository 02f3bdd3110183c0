"""Where `verify` starts: the books and the heads of the audit chains in a sealed checkpoint.

The books in a checkpoint are those after one time slice. Its content is proved by its hashes, by the audit heads that
were sealed with it, and by `replay-check`, which compares each checkpoint with a replay. `verify` therefore reads only
what follows it, and compares the positions and open lots that did not change since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataflows.replay.checkpoint_books import portfolio_of, restored_stage
from dataflows.runtime import stages
from deploy.checkpoints.books import books_hash
from deploy.checkpoints.checkpoint_files import Manifest, read_state
from deploy.checkpoints.selection import OnSkipped, newest_usable, platform_problem
from deploy.errors import DeployError
from deploy.verification.audit import ChainHead
from deploy.verification.books_at_slice import BooksAtSlice
from operators.gateway import GatewayStage
from operators.venue import VenueStage

if TYPE_CHECKING:
    from configs.settings import Settings
    from deploy.home import Home


class CheckpointStart:
    """The checkpoint from which `verify` starts. `written_ns` is the wall clock before its records were written."""

    def __init__(self, settings: Settings, manifest: Manifest, services: Any) -> None:
        self._settings, self._services = settings, services
        self.checkpoint_id, self.slice_ns, self.written_ns = (
            manifest.checkpoint_id,
            manifest.slice_ns,
            manifest.created_ns,
        )
        self.heads = {topic: ChainHead(topic, position, head) for topic, position, head in manifest.audit_heads}

    def books(self) -> BooksAtSlice:
        """Return the books. Each call returns a new ledger, because a check books later executions into it."""
        stage = portfolio_of(self._settings, self._services)
        return BooksAtSlice(self.slice_ns, stage.ledger, dict(stage.marks.prices), stage.accrued_dividends)

    def open_order_ids(self) -> list[str]:
        """Return the ids of the orders that had not ended."""
        stage = restored_stage(self._settings, self._services, stages.execution, "execution")
        assert isinstance(stage, VenueStage | GatewayStage)
        return stage.open_order_ids


def newest_start(
    home: Home, settings: Settings, *, upto_ns: int, since_ns: int | None, skipped: OnSkipped
) -> CheckpointStart | None:
    """Return the newest checkpoint whose books can be read, None without one.

    Its time slice is at or before `upto_ns`, and it was created before `since_ns` (wall clock; None for any time).
    `skipped` receives one sentence for each newer one that cannot be used.
    """

    def is_candidate(manifest: Manifest) -> bool:
        return manifest.slice_ns <= upto_ns and (since_ns is None or manifest.created_ns < since_ns)

    return newest_usable(home, is_candidate, lambda manifest: _load(home, settings, manifest), skipped)


def _load(home: Home, settings: Settings, manifest: Manifest) -> CheckpointStart:
    """Return a checkpoint of this platform with intact files and readable books. Raises DeployError."""
    problem = platform_problem(home, manifest)
    if problem:
        raise DeployError(problem)
    state = read_state(home.checkpoints, manifest)
    start = CheckpointStart(settings, manifest, state.compact[2])
    try:
        found = books_hash(start.books().ledger)
        start.open_order_ids()
    except Exception as error:  # a state of another release can fail in any way
        name, release = manifest.checkpoint_id, manifest.release
        raise DeployError(
            f"the books in {name} of release {release} cannot be read by this release: {type(error).__name__}: {error}"
        ) from error
    if found != manifest.books:
        raise DeployError(f"{manifest.checkpoint_id} is damaged: its books do not have the hash in its manifest")
    return start
