"""Queries a dask worker; sent to it as source, since it may have another version of this program."""


def probe(task, model, output):
    """Facts about the worker that runs this, or {"problem": why there are none}."""
    try:
        from MedDeepLib.cohort.program import facts

        return facts(task, model, output)
    except ImportError as error:
        return {"problem": f"it cannot import this version of MedDeepExtension ({error})"}
    except Exception as error:
        return {"problem": f"{type(error).__name__}: {error}"}
