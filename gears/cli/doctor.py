"""`gears doctor`."""

from __future__ import annotations

import argparse
import json

from gears.cli.console import show
from gears.cli.options import Commands, add_command, site_name


def add(commands: Commands) -> None:
    """Add the command and its options."""
    doctor = add_command(commands, "doctor", do_doctor)
    doctor.add_argument("--json", action="store_true", help="print JSON")


def do_doctor(args: argparse.Namespace) -> int:
    """Print the findings of `gears.doctor`. Return 1 if a check failed, else 0."""
    from gears import doctor
    from gears.sites.locate import locate

    findings = doctor.examine(locate(site_name(args)))
    show(json.dumps([finding.as_record() for finding in findings]) if args.json else doctor.as_text(findings))
    return 1 if any(finding.level == "failed" for finding in findings) else 0
