"""Workspaces: one git repository for the code, notebooks, jobs and data of a team, from a template that has versions.

git.py          git: the only module here that runs it
template.py     the template: shipped, as a git repository; made and updated by copier
dvc.py          DVC: found, configured for a team, asked
settings.py     gears.toml of a workspace
setup.py        what is done once in each clone
creation.py     a new workspace
joining.py      a colleague's clone
updating.py     the newer template, on a branch
tracked.py      what a commit has in DVC
here.py         a clone, seen from a host of a site
remote.py       the place to which it is pushed
shipping.py     … as transfers of `gears data`, with their records in git (ledger.py)
exchange.py     push and pull
holding.py      where the data of a commit is
running.py      a stage, run once at a time in the team
runs.py         runs as batch jobs: their records, and where they are
submission.py   a run is submitted, with a clone
job.py          what the job does
status.py       what is not committed, not pushed, not in the cache
"""
