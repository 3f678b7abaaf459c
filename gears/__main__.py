"""`python -m gears`."""

from gears.cli import main

raise SystemExit(main())
