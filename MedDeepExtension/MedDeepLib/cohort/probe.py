"""Asks a dask worker what it is; sent there as it stands, since it may have another version of this program."""


def probe(task, model, output):
    """The facts of the worker that runs this, or {"problem": why there are none}."""
    try:
        from MedDeepLib.cohort.program import facts

        return facts(task, model, output)
    except ImportError as error:
        return {"problem": f"it cannot import this version of MedDeepExtension ({error})"}
    except Exception as error:
        return {"problem": f"{type(error).__name__}: {error}"}
