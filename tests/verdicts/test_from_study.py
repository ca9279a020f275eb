"""What a model is packed from: a second network has to take the images of the first."""

from dataclasses import replace

import pytest

from passband.base.errors import BadInputError
from passband.learning import NetworkConfig
from passband.studies.folder import StudyFolder
from passband.verdicts import from_study


def test_a_second_network_of_other_images_is_refused_before_any_work(tiny, tmp_path):
    folder = StudyFolder.open(tiny[1])
    job = folder.training_jobs[0]
    deeper = replace(job, study=job.study.model_copy(update={"network": NetworkConfig(widths=(4, 8, 16))}))
    [condition] = job.domain.conditions
    finer = condition.model_copy(update={"pixel_size_angstrom": condition.pixel_size_angstrom / 2})
    finer = replace(job, domain=replace(job.domain, conditions=(finer,)))
    for second, message in (
        (deeper, "second small: its network takes fields of multiples of 8 pixels, and that of small of 4"),
        (finer, "second small: has pixels of"),
    ):
        with pytest.raises(BadInputError, match=message):
            from_study.pack(folder, (job, 1.0), tmp_path / "m", [], 0.2, None, None, name="m", second=second, memory=1)
    assert not (tmp_path / "m").exists()
    # A network that is less deep takes the fields of a deeper one.
    from_study._check_second(deeper, job)
