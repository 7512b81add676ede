"""Widgets and behaviour shared by the panels. Only here and in the modules' own files is Qt used; nothing is computed.

A module's file derives its classes from those in ``task_module`` (module, parameter node, logic, test) and
``task_widget`` (panel); ``scene_widget`` binds any panel to the scene. A panel is made of ``sections``: each runs one
job at a time, with a form of its own, and ``job_monitor`` follows that job. Sections are made of ``fields``: choosers
whose values are kept in a parameter node (``changes``). Task-specific code, such as the apply section, is
in the module's own ``panel`` package. ``home`` is the panel of devices, jobs and models.
"""
