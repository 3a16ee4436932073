"""What the store promises for alerts; a part of `Store`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gallery_svc.store.alert_records import AlertingHead, AlertingStep, AlertWrite, KeptAlert, RuleRecord
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.event_records import EventRecord


class AlertStore(Protocol):
    """Rules, alerts, and how far the event log is judged; raises what `Store` raises."""

    # ---- rules

    async def list_rules(self) -> tuple[RuleRecord, ...]:
        """The newest revision of each rule that is not deleted, by id."""
        ...

    async def find_rule(self, rule_id: str, revision: int = 0) -> RuleRecord | None:
        """A revision of a rule, also of one that is deleted; 0: the newest."""
        ...

    async def put_rule(self, record: RuleRecord) -> None:
        """Write a rule's next revision; the very same again does nothing.

        The first rule that there is makes the judgement begin behind the newest event.

        Raises:
            RevisionChangedError: it does not follow the one that stands.
        """
        ...

    # ---- the judgement

    async def alerting_head(self) -> AlertingHead:
        """How far the event log is judged."""
        ...

    async def alerting_state(self) -> tuple[AlertingHead, dict[str, str]]:
        """The same, and all that the evaluation remembers there."""
        ...

    async def commit_alerting(self, step: AlertingStep) -> list[EventRecord] | None:
        """Write a step: cursor, what is remembered, alerts, and an event for each of their messages.

        Returns:
            The events; None when somebody else wrote a step, or one of the alerts, in between: nothing was written.
        """
        ...

    # ---- alerts

    async def find_alerts(self, alert_ids: Sequence[str]) -> dict[str, KeptAlert]:
        """Alerts by id; those that are not kept are left out."""
        ...

    async def alerts_before(self, number: int, limit: int) -> list[KeptAlert]:
        """Alerts that were opened before the one of a number, newest first; 0: from the newest."""
        ...

    async def amend_alert(self, write: AlertWrite, audit: AuditRecord | None) -> list[EventRecord] | None:
        """Write one alert, its messages and an audit entry.

        Returns:
            The events; None when somebody else wrote it in between, and nothing was written: read it again.
        """
        ...
