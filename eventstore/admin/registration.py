"""Puts the event store into the default admin site. `eventstore.apps` imports this where the admin is installed."""

from __future__ import annotations

from django.contrib import admin

from eventstore import models
from eventstore.admin import records
from eventstore.admin.events import EventAdmin
from eventstore.admin.operations import OperationAdmin
from eventstore.admin.parked import ParkedKeyAdmin
from eventstore.admin.seals import SealAdmin
from eventstore.admin.subscriptions import CheckpointAdmin

admin.site.register(models.Event, EventAdmin)
admin.site.register(models.Checkpoint, CheckpointAdmin)
admin.site.register(models.ParkedKey, ParkedKeyAdmin)
admin.site.register(models.Operation, OperationAdmin)
admin.site.register(models.Snapshot, records.SnapshotAdmin)
admin.site.register(models.IdempotencyRecord, records.IdempotencyRecordAdmin)
admin.site.register(models.SubjectKey, records.SubjectKeyAdmin)
admin.site.register(models.OutboxEntry, records.OutboxEntryAdmin)
admin.site.register(models.Sequencer, records.SequencerAdmin)
admin.site.register(models.Seal, SealAdmin)
