"""
A study on a Slurm cluster
==========================

Workers are batch jobs that come and go; the driver is this script (``pip install 'passband[cluster]'``)::

    python examples/slurm.py replication/studies/metrics.yaml --jobs 32

Start it on a login node or in a small job of its own. The study's folder must lie on a disk that all nodes share. Jobs that reach their
time limit are replaced, and what they had finished stays.
"""

import argparse
import subprocess
import sys

from dask_jobqueue import SLURMCluster


def make_cluster(jobs: int, cores: int, memory: str, walltime: str, queue: str | None) -> SLURMCluster:
    """Return a cluster of at most `jobs` batch jobs, each with one worker process per core.

    Args:
        jobs: batch jobs at most; fewer while there is less work.
        cores: of a job.
        memory: of a job, such as "64GB"; about 1 GB per core suffices for the demo's sizes, `passband study plan` says more.
        walltime: of a job.
        queue: partition, or None for the default.
    """
    cluster = SLURMCluster(
        queue=queue, cores=cores, processes=cores, memory=memory, walltime=walltime,
        # Workers end before Slurm ends them, so that none is lost in the middle of a network.
        worker_extra_args=["--lifetime", "55m", "--lifetime-stagger", "4m"],
        job_extra_directives=["--requeue"],
    )  # fmt: skip
    cluster.adapt(minimum_jobs=1, maximum_jobs=jobs)
    return cluster


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
    with make_cluster(options.jobs, options.cores, options.memory, options.walltime, options.queue) as cluster:
        command = ["-m", "passband.cli", "study", "run", options.study, "--executor", "dask"]
        done = subprocess.run([sys.executable, *command, "--scheduler", cluster.scheduler_address], check=False)  # noqa: S603
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
