"""Cohorts: a model applied to hundreds of cases by several processes, of this computer or of many, through dask.

See :mod:`~MedDeepLib.cohort.case_list` (the cases), :mod:`~MedDeepLib.cohort.driver` (distributes the
cases), :mod:`~MedDeepLib.cohort.cluster` (the workers), :mod:`~MedDeepLib.cohort.work` (what a dask worker does),
:mod:`~MedDeepLib.cohort.record` (marks finished cases) and :mod:`~MedDeepLib.cohort.table` (the summary).
"""
