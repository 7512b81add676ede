"""Widgets and behaviour that the panels share. Here, and in the modules' own files, Qt is used; nothing is computed.

A module's file derives its classes from those in ``task_module`` (module, parameter node, logic, test) and
``task_widget`` (panel); ``scene_widget`` binds any panel to the scene. A panel is made of ``sections``: each runs one
job at a time, with a form of its own, and ``job_monitor`` follows that job. Sections are made of ``fields``: choosers
whose values a parameter node keeps (``changes``). What depends on a task, such as the section that applies a model, is
in the module's own ``panel`` package. ``home`` is the panel of devices, jobs and models.
"""
