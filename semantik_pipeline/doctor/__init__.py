"""doctor: look at every server, schema, queue, model, plugin, disk and clock, and say what is wrong and what to do.

It changes nothing. Checks run side by side, each for a few seconds at most, so that one that hangs is
named and holds up no other. What to look at is in :mod:`.servers`, :mod:`.stores`, :mod:`.extensions` (plugins and
models), :mod:`.hosts` and :mod:`.work`; each check is a function of a :class:`~.examination.Patient`.
"""

from semantik_pipeline.doctor.examination import Patient, examine
from semantik_pipeline.doctor.findings import Finding, verdict

__all__ = ["Finding", "Patient", "examine", "verdict"]
