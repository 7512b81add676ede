"""Widgets and behaviour that the panels share. Here, and in the modules' own files, Qt is used; nothing is computed.

``job_section`` runs a job for a section of a panel; ``apply_section``, ``train_section`` and ``evaluate_section`` are
the three of every task. They work on the widgets of the module's form: they make none but the ones that depend on a
method or a model. ``home`` and the files whose names begin with it are the panel of devices, jobs and models.
"""
