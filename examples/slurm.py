"""Run a study on a Slurm cluster: workers are batch jobs that come and go, the driver is this script.

    .venv/bin/pip install -c constraints.txt -e '.[cluster]'
    .venv/bin/python examples/slurm.py replication/studies/metrics.yaml --jobs 32

Start it on a login node or in a small job of its own. The study's folder must lie on a disk that all nodes share. Jobs that end
with their time limit are replaced; what they had finished stays.
"""

import argparse
import subprocess
import sys

from dask_jobqueue import SLURMCluster


def cluster(jobs: int, cores: int, memory: str, walltime: str, queue: str | None) -> SLURMCluster:
    """Return a cluster of batch jobs, each with one worker process a core, up to `jobs` of them as there is work.

    Args:
        jobs: batch jobs at most.
        cores: of a job.
        memory: of a job, such as "64GB"; about 1 GB a core is enough for the demo's sizes, `passband study plan` says more.
        walltime: of a job.
        queue: partition, or None for the default.
    """
    made = SLURMCluster(
        queue=queue, cores=cores, processes=cores, memory=memory, walltime=walltime,
        # Workers end themselves before Slurm does, so that none is lost in the middle of a network.
        worker_extra_args=["--lifetime", "55m", "--lifetime-stagger", "4m"],
        job_extra_directives=["--requeue"],
    )  # fmt: skip
    made.adapt(minimum_jobs=1, maximum_jobs=jobs)
    return made


def main() -> None:
    """Start the workers, then the study."""
    parser = argparse.ArgumentParser()
    parser.add_argument("study")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--cores", type=int, default=32)
    parser.add_argument("--memory", default="64GB")
    parser.add_argument("--walltime", default="01:00:00")
    parser.add_argument("--queue")
    options = parser.parse_args()
    with cluster(options.jobs, options.cores, options.memory, options.walltime, options.queue) as made:
        command = ["-m", "passband.cli", "study", "run", options.study, "--executor", "dask"]
        done = subprocess.run([sys.executable, *command, "--scheduler", made.scheduler_address], check=False)  # noqa: S603
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
