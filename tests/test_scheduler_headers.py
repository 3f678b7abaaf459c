"""What stands at the head of job scripts, whole, as in tests/golden/job-*.txt.

Where each directive is documented:

Slurm, sbatch(1): --job-name, --account, --partition, --nodes, --time (HH:MM:SS), --output (with standard error, unless
--error is given), --open-mode, --dependency=afterany:ID.

Grid Engine, sge_submit(1): -N, -S, -P, -q, -l with h_rt of complex(5), -o, -j y, -hold_jid, -pe.

PBS, qsub(1B): -N, -S, -A, -q, -l select=N (N chunks), -l place=scatter (each on a host of its own), -l walltime,
-o, -j oe, -W depend=afterany:ID.

LSF, bsub(1): -J, -P, -q, -nnodes (where nodes are given whole), -W [hour:]minute, -o (with standard error, unless -e is
given), -w "ended(ID)".
"""

from pathlib import Path

import pytest

from gears.errors import UsageError
from gears.schedulers.base import JobSpec, scheduler

GOLDEN = Path(__file__).parent / "golden"
LOG = Path("/home/alice/gears/run/andes/job.1.log")
DIRECTIVES = {
    "slurm": ("--gres=gpu:1", "#SBATCH --mail-type=END"),
    "sge": ("-pe mpi 8", "#$ -l mem_free=4G"),
    "pbs": ("-l filesystems=home", "#PBS -k oed"),
    "lsf": ('-R "rusage[mem=4000]"', "#BSUB -alloc_flags smt1"),
}
AFTER = {"slurm": "4711", "sge": "4711", "pbs": "4711.pbs", "lsf": "4711"}
KINDS = tuple(DIRECTIVES)


@pytest.mark.parametrize("kind", KINDS)
def test_header_with_everything(kind: str) -> None:
    spec = JobSpec(
        name="gears-andes-1",
        log=LOG,
        account="csc123",
        queue="batch",
        nodes=2,
        walltime_s=30 * 3600 + 90,
        directives=DIRECTIVES[kind],
        after=AFTER[kind],
    )
    assert scheduler(kind).header(spec) == (GOLDEN / f"job-{kind}-full.txt").read_text().splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_header_with_nothing_but_defaults(kind: str) -> None:
    spec = JobSpec(name="gears-andes-1", log=LOG)
    assert scheduler(kind).header(spec) == (GOLDEN / f"job-{kind}-least.txt").read_text().splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_persons_directives_come_last_so_that_they_win(kind: str) -> None:
    spec = JobSpec(name="gears-andes-1", log=LOG, after="4711", directives=("-x one", "-x two"))
    assert [line.partition(" ")[2] for line in scheduler(kind).header(spec)][-2:] == ["-x one", "-x two"]


def test_one_node_needs_neither_scatter_nor_parallel_environment() -> None:
    spec = JobSpec(name="gears-andes-1", log=LOG, nodes=1)
    assert "#PBS -l select=1" in scheduler("pbs").header(spec)
    assert not [line for line in scheduler("pbs").header(spec) if "place" in line]
    assert not [line for line in scheduler("sge").header(spec) if "-pe" in line]


def test_lsf_rounds_walltime_up_to_whole_minutes() -> None:
    walltimes = {seconds: JobSpec(name="a", log=LOG, walltime_s=seconds) for seconds in (1, 60, 61, 3599)}
    lines = {seconds: scheduler("lsf").header(spec)[1] for seconds, spec in walltimes.items()}
    assert lines == {1: "#BSUB -W 0:01", 60: "#BSUB -W 0:01", 61: "#BSUB -W 0:02", 3599: "#BSUB -W 1:00"}


def test_grid_engine_tells_how_several_nodes_are_had() -> None:
    with pytest.raises(UsageError, match='add "-pe NAME 2" to directives') as refused:
        scheduler("sge").header(JobSpec(name="a", log=LOG, nodes=2))
    assert "qconf -spl" in str(refused.value)


def test_only_slurm_can_be_asked_to_warn_the_script_of_the_walltime() -> None:
    spec = JobSpec(name="a", log=LOG, notice_s=120)
    assert "#SBATCH --signal=B:USR1@120" in scheduler("slurm").header(spec)
    for kind in ("pbs", "lsf", "sge"):
        assert scheduler(kind).header(spec) == scheduler(kind).header(JobSpec(name="a", log=LOG))
