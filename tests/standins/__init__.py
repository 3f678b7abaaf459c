"""Stand-ins for programs that can't be had for tests: PBS, LSF, micromamba, hsi.

They are programs of their own, run by /usr/bin/python3, that know nothing of gears. What `programs` gives belongs side
by side into a directory of PATH, on the hosts where jobs are submitted and on those where they run. `standin_engine`
tells what can be set.
"""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COMMANDS = {"lsf": ("bsub", "bjobs", "bkill"), "pbs": ("qsub", "qstat", "qselect", "qdel")}


def programs(kind: str, **settings: Any) -> dict[str, str]:
    """The text of each file by its name. Every command is the same program, which goes by the name it is called by."""
    program = (HERE / f"{kind}.py").read_text()
    files = dict.fromkeys(COMMANDS[kind], program)
    files["standin_engine.py"] = (HERE / "standin_engine.py").read_text()
    return files | {"standin.json": json.dumps(settings)}


def install(kind: str, directory: Path, **settings: Any) -> None:
    for name, text in programs(kind, **settings).items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)


def install_hsi(directory: Path, **settings: Any) -> None:
    """`settings`: see `hpss.py`, which also tells of the faults in `faults.json` beside it."""
    (directory / "hsi").write_text((HERE / "hpss.py").read_text())
    (directory / "hsi").chmod(0o755)
    (directory / "standin.json").write_text(json.dumps(settings))


def install_micromamba(directory: Path) -> Path:
    """The program, with the packages that it stands on beside it: whoever runs it may not read ours."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("rattler", "yaml"):
        found = find_spec(name)
        assert found, name
        assert found.origin, name
        shutil.copytree(Path(found.origin).parent, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    program = directory / "micromamba"
    program.write_text((HERE / "micromamba.py").read_text())
    program.chmod(0o755)
    return program
