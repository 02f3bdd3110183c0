"""The identity of a platform, as its folder, its database and its topics record it."""

from __future__ import annotations

from deploy.supervisor.platform_identity import PlatformIdentity


def platform_identity(platform_id: str = "p1", *, cluster_id: str = "c1") -> PlatformIdentity:
    """Return the identity of a simulated platform of epoch 1."""
    return PlatformIdentity(
        platform_id=platform_id,
        epoch=1,
        broker="simulated",
        feed="simulator",
        symbol_partitions=4,
        cluster_id=cluster_id,
        topic_prefix="",
        created_at="2026-01-01T00:00:00+00:00",
    )
