"""Runs `gears/lab/job/wait_for_exit.py`, by the path that loops of jobs have in their scripts since before it moved."""

import os
import runpy

runpy.run_path(os.path.join(os.path.dirname(__file__), "../lab/job/wait_for_exit.py"), run_name="__main__")
