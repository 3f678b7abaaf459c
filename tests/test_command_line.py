"""JupyterLab's command line names modules and classes as text, which no type checker sees."""

import importlib.util
import pydoc
from dataclasses import replace
from pathlib import Path

from gears.lab.jupyter.command_line import plan_command, plan_job_command
from gears.sites.load import load_site
from gears.sites.paths import RunDir


def test_what_the_command_line_names_is_there(tmp_path: Path) -> None:
    site, paths = load_site("local"), RunDir(tmp_path, "local", tmp_path)
    site = replace(site, lab=replace(site.lab, listen="socket"))
    for command in (plan_command(site, paths, root=False), plan_job_command(site, paths, root=False)):
        assert importlib.util.find_spec(command[command.index("-m") + 1])
        [manager] = [word.partition("=")[2] for word in command if "kernel_manager_class" in word]
        assert pydoc.locate(manager), manager
