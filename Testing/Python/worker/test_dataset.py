"""A job reports the entries of its dataset that are ignored."""

from __future__ import annotations

import json

from MedDeepLib.jobs.job import Job
from MedDeepLib.worker.dataset import read_dataset


def test_keys_that_are_not_read_are_warned_of(tmp_path):
    (tmp_path / "a.nrrd").touch()
    content = {"training": [{"image": "a.nrrd", "lable": "a.seg.nrrd"}]}
    (tmp_path / "list.json").write_text(json.dumps(content), encoding="utf-8")
    events = []
    job = Job("segment", "train", "unet", dataset=str(tmp_path / "list.json"))
    dataset = read_dataset(job, lambda event, **fields: events.append((event, fields)))
    assert [case.name for case in dataset.training] == ["a"]
    assert [event for event, _ in events] == ["phase", "warning"]
    assert 'has "lable" in 1 case, which was ignored' in events[1][1]["message"]
