"""What is made of the answers of Grid Engine, as a real one of 8.1.9 gave them."""

import pytest

from gears.schedulers import sge
from gears.schedulers.base import Job
from tests.scheduler_says import Says

pytestmark = pytest.mark.usefixtures("in_denver")


QSTAT = """\
<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>7</JB_job_number>
      <JAT_prio>0.50000</JAT_prio>
      <JB_name>gears-x</JB_name>
      <JB_owner>alice</JB_owner>
      <state>STATE</state>
      <JAT_start_time>2026-11-21T03:00:00</JAT_start_time>
      <queue_name>all.q@c1</queue_name>
      <slots>1</slots>
      <full_job_name>gears-x</full_job_name>
      <hard_request name="h_rt" resource_contribution="0.000000">600</hard_request>
      <binding>NONE</binding>
    </job_list>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>70</JB_job_number>
      <JB_name>other</JB_name>
      <state>qw</state>
      <queue_name></queue_name>
      <full_job_name>other</full_job_name>
    </job_list>
  </job_info>
</job_info>
"""
PENDING = """\
<job_info>
  <queue_info>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>7</JB_job_number>
      <state>STATE</state>
      <JB_submission_time>2026-11-21T09:59:11</JB_submission_time>
      <queue_name></queue_name>
      <full_job_name>gears-x</full_job_name>
      MORE
    </job_list>
  </job_info>
</job_info>
"""
AFTER = "<predecessor_jobs_req>6</predecessor_jobs_req>\n<predecessor_jobs>6</predecessor_jobs>"


@pytest.mark.parametrize(
    ("word", "job"),
    [
        ("r", Job("7", "RUNNING", "r", "", node="c1", ends="2026-11-21T10:10:00Z")),
        ("t", Job("7", "RUNNING", "t", "", node="c1", ends="2026-11-21T10:10:00Z")),
        ("dr", Job("7", "ENDING", "dr", "is being cancelled (dr)", node="c1", ends="2026-11-21T10:10:00Z")),
        ("S", Job("7", "SUSPENDED", "S", "suspended (S)", node="c1", ends="2026-11-21T10:10:00Z")),
        ("?", Job("7", "UNKNOWN", "?", "qstat reports an unknown state: '?'", "c1", None, None)),
    ],
)
def test_grid_engine_job_on_a_node(word: str, job: Job, says: Says) -> None:
    calls = says("qstat", QSTAT.replace("STATE", word))
    found = sge.query("7")
    assert (found.state, found.word, found.reason, found.node) == (job.state, job.word, job.reason, job.node)
    assert job.ends in (found.ends, None)
    assert len(calls.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("word", "more", "state", "reason"),
    [
        ("hqw", "", "HELD", "held; release it with qrls (hqw)"),
        ("hqw", AFTER, "PENDING", "waits for job 6 to end (hqw)"),
        ("qw", "", "PENDING", "waits in the queue (qw)"),
    ],
)
def test_grid_engine_job_that_waits(word: str, more: str, state: str, reason: str, says: Says) -> None:
    says("qstat", PENDING.replace("STATE", word).replace("MORE", more))
    assert sge.query("7") == Job("7", state, word, reason)


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (
            'scheduling info:            queue instance "all.q@c1" dropped because it is full\n'
            "                            All queues dropped because of overload or full\n",
            "All queues dropped because of overload or full",
        ),
        (
            'scheduling info:            queue instance "all.q@c1" dropped because it is full\n'
            '                            (-l mem_free=9000G) cannot run at host "c1" because it offers only '
            "hl:mem_free=23.055G\n                            All queues dropped because of overload or full\n",
            '(-l mem_free=9000G) cannot run at host "c1" because it offers only hl:mem_free=23.055G',
        ),
        ("scheduling info:            (Collecting of scheduler job information is turned off)\n", ""),
        (
            'error reason          1:      11/21/2026 09:59:08 [1000:2290]: error: can\'t open output file "/x"\n'
            "scheduling info:            Job is in error state\n",
            'error: can\'t open output file "/x"',
        ),
    ],
)
def test_grid_engine_detail(said: str, detail: str, says: Says) -> None:
    says("qstat", f"job_name:                   gears-x\n{said}")
    assert sge._detail("7") == detail


@pytest.mark.parametrize(
    ("failed", "status", "reason"),
    [
        ("0    ", "0                   ", "finished normally (exit_status 0)"),
        ("0    ", "3                   ", "failed with exit 3 (exit_status 3)"),
        (
            "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit",
            "137                  (Killed)",
            "ended by its walltime, or by another limit (37 : qmaster enforced h_rt, h_cpu, or h_vmem limit)",
        ),
        (
            "100 : assumedly after job",
            "137                  (Killed)",
            "killed, for example by qdel (100 : assumedly after job)",
        ),
        ("26  : opening input/output file", "0", "26 : opening input/output file"),
    ],
)
def test_grid_engine_job_that_has_ended(failed: str, status: str, reason: str, says: Says) -> None:
    says("qstat", QSTAT.replace("<JB_job_number>7<", "<JB_job_number>77<"))
    lines = ["=" * 62, "qname        all.q", "hostname     c1", "end_time     Sat Nov 21 03:00:00 2026"]
    says("qacct", "\n".join([*lines, f"failed       {failed}", f"exit_status  {status}", ""]))
    assert sge.query("7") == Job("7", "ENDED", "z", reason, ends="2026-11-21T10:00:00Z")


def test_grid_engine_job_that_nobody_knows(says: Says) -> None:
    says("qstat", PENDING.replace(">7<", ">8<"))
    says("qacct", error="error: job id 7 not found\n", status=1)
    assert sge.query("7") == Job("7", "GONE")


def test_half_an_answer_of_grid_engine_is_none(says: Says) -> None:
    says("qstat", QSTAT[: QSTAT.index("</queue_info>")].rstrip())
    assert sge.query("7").state == "UNKNOWN"
    assert sge.find("gears-x") is None


def test_grid_engine_finds_by_the_whole_name(says: Says) -> None:
    says("qstat", QSTAT.replace("STATE", "r"))
    assert sge.find("gears-x") == ["7"]
    assert sge.find("gears") == []
