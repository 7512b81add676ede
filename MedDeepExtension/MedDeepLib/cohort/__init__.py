"""Cohorts: a model applied to hundreds of cases by several processes, of this computer or of many, through dask.

See :mod:`~MedDeepLib.cohort.case_list` (what is asked for), :mod:`~MedDeepLib.cohort.driver` (deals the cases
out), :mod:`~MedDeepLib.cohort.cluster` (to whom), :mod:`~MedDeepLib.cohort.work` (what a dask worker does),
:mod:`~MedDeepLib.cohort.record` (how a case is known to be done) and :mod:`~MedDeepLib.cohort.table` (what
people read in the end).
"""
