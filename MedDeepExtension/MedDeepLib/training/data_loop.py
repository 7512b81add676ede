"""Makes the items of a DataStage that are not there yet."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from MedDeepLib.core import Context
from MedDeepLib.errors import Stopped
from MedDeepLib.training import ranks
from MedDeepLib.training.checkpoint import CheckpointStore
from MedDeepLib.training.progress import Progress
from MedDeepLib.training.stages import DataStage
from MedDeepLib.training.stages.fit import checked_tensors

_REPORT_SECONDS = 0.5


def run_data_stage(
    stage: DataStage,
    index: int,
    reached: bool,
    passed: bool,
    store: CheckpointStore,
    context: Context,
    finished: Sequence[Progress],
) -> Progress:
    """Make what is missing; several processes share the items out among them.

    Args:
        reached: an interrupted training had begun with this stage, so that items in the folder are its own.
        passed: it had begun with the stage after it; an item is missing then only if somebody has deleted it.
        finished: how the stages before it went.

    Raises Stopped; items that have been made are kept.
    """

    def begin() -> Path:
        folder = store.items_folder(index)
        if not reached:
            shutil.rmtree(folder, ignore_errors=True)  # of a training whose checkpoint was deleted
            folder = store.items_folder(index)
            store.save_progress(stage.name, Progress(index), finished)
        return folder

    stage.kept_in(ranks.from_leader(begin))
    stopped = _make_missing(stage, store, context)
    if ranks.any_of(stopped):
        raise Stopped
    progress = Progress(index, finished=True)
    if not passed and ranks.leads():
        store.save_progress(stage.name, progress, finished)
    return progress


def _make_missing(stage: DataStage, store: CheckpointStore, context: Context) -> bool:
    """Make this process's share of the missing items; True when the user has asked to stop."""
    own = range(ranks.rank(), stage.count, ranks.count())
    missing = [number for number in own if not stage.file(number).exists()]
    if missing:
        context.report("phase", phase=f"Making data: {stage.name}")
    began = reported = time.monotonic()
    for done, number in enumerate(missing, start=1):
        try:
            if context.stop_requested():
                return True
            item = stage.make(number)
        except Stopped:
            return True
        store.save_item(stage.file(number), checked_tensors(item, f"item {number} of stage '{stage.name}'"))
        now = time.monotonic()
        if now - reported >= _REPORT_SECONDS or done == len(missing):
            reported = now
            context.report(
                "progress",
                stage=stage.name,
                # Of several processes the leader reports: the others are about as far.
                step=min(stage.count, (len(own) - len(missing) + done) * ranks.count()),
                total=stage.count,
                remaining=round((now - began) / done * (len(missing) - done), 1),
            )
    return False
