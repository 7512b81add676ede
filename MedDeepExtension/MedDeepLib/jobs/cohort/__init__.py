"""Cohorts: a model applied to hundreds of cases by several processes, of this computer or of many, through dask.

See :mod:`~MedDeepLib.jobs.cohort.cases` (what is asked for), :mod:`~MedDeepLib.jobs.cohort.driver` (deals the cases
out), :mod:`~MedDeepLib.jobs.cohort.cluster` (to whom), :mod:`~MedDeepLib.jobs.cohort.work` (what a dask worker does),
:mod:`~MedDeepLib.jobs.cohort.record` (how a case is known to be done) and :mod:`~MedDeepLib.jobs.cohort.table` (what
people read in the end).
"""
