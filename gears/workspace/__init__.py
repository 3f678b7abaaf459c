"""Workspaces: one git repository for the code, notebooks, jobs and data of a team, from a template that has versions.

git.py          git: the only module here that runs it
template.py     the template: shipped, as a git repository; made and updated by copier
dvc.py          DVC: found, configured for a team, asked
settings.py     gears.toml of a workspace
setup.py        what is done once in each clone
creation.py     a new workspace
joining.py      a colleague's clone
updating.py     the newer template, on a branch
status.py       what is not committed, not pushed, not in the cache
"""
