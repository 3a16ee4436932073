"""The store in Redis or Valkey: its parts joined. What its keys hold stands in `redis_keys`, what a write does in
`scripts/`, and where the servers are in `redis_topology`.

What it refuses: to retry a write by itself. A write whose answer was lost is settled by the caller's `request_id`.
"""

from __future__ import annotations

from gallery_svc.store.redis_audit import RedisAudit
from gallery_svc.store.redis_calibrations import RedisCalibrations
from gallery_svc.store.redis_epochs import RedisEpochs
from gallery_svc.store.redis_erasures import RedisErasures
from gallery_svc.store.redis_events import RedisEvents
from gallery_svc.store.redis_persons import RedisPersons
from gallery_svc.store.redis_subjects import RedisSubjects
from gallery_svc.store.redis_upkeep import RedisUpkeep


class RedisStore(
    RedisUpkeep, RedisSubjects, RedisEpochs, RedisErasures, RedisEvents, RedisAudit, RedisCalibrations, RedisPersons
):
    """Records in Redis or Valkey, standalone, behind Sentinel or in a cluster; see `Store` for what it promises."""
