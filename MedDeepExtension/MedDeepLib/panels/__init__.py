"""Widgets and behaviour that the panels share. Here, and in the modules' own files, Qt is used; nothing is computed.

``scene_widget`` is the base of all panels, ``module_widget`` that of every module's. ``job_section`` runs a job for a
section of one: ``train_section`` and ``evaluate_section`` are the same for every task, ``apply_section`` (segmentation)
and ``register_section`` have ``model_section`` in common. They work on the widgets of the module's form and of the
forms for training, evaluation and the log, and make none but the ones that depend on a method or a model. ``home``
and the files whose names begin with it are the panel of devices, jobs and models.
"""
