"""Makes the missing items of a DataStage."""

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
    """Make the missing items; several processes divide them among themselves.

    Args:
        reached: the interrupted training had begun this stage, so the items in the folder belong to it.
        passed: it had begun the next stage; an item is then missing only if someone has deleted it.
        finished: progress of the stages before this one.

    Raises Stopped; items that have been made are kept.
    """

    def begin() -> Path:
        folder = store.items_folder(index)
        if not reached:
            shutil.rmtree(folder, ignore_errors=True)  # left by a training whose checkpoint was deleted
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
                # With several processes only the leader's events count: the others are about as far.
                step=min(stage.count, (len(own) - len(missing) + done) * ranks.count()),
                total=stage.count,
                remaining=round((now - began) / done * (len(missing) - done), 1),
            )
    return False
