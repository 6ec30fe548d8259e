"""doctor: checks every server, schema, queue, model, plugin, disk and clock, and reports problems with their remedies.

It changes nothing. Checks run concurrently, each for a few seconds at most, so that one that hangs is reported and does
not delay the others. The checks are in :mod:`.servers`, :mod:`.stores`, :mod:`.extensions` (plugins and models),
:mod:`.hosts` and :mod:`.work`; each is a function of a :class:`~.examination.Patient`.
"""

from semantik_pipeline.doctor.examination import Patient, examine
from semantik_pipeline.doctor.findings import Finding, verdict

__all__ = ["Finding", "Patient", "examine", "verdict"]
