"""Batch schedulers: one module each, with the same functions (`base.Scheduler`)."""
