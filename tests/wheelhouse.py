"""Packages made on the spot, and environments to install them in: no index is asked."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.repacked import Package, sample

SYSTEM_PYTHON = Path(sys.executable).resolve()


def make_wheel(directory: Path, name: str, version: str, *, modules: int = 1, requires: str = "") -> Path:
    return write_wheel(directory, sample(name, version, modules=modules, requires=requires))


def write_wheel(directory: Path, package: Package) -> Path:
    """PEP 427. Not compressed: it is read once, and from this machine."""
    info = next(path.split("/")[0] for path in package.files if path.endswith(".dist-info/WHEEL"))
    tags = re.findall(r"^Tag: (\S+)-(\S+)-(\S+)", package.files[f"{info}/WHEEL"].decode(), re.MULTILINE)
    tag = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
    rows = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in package.files.items()]
    record = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    wheel = directory / f"{info.removesuffix('.dist-info')}-{tag}.whl"
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in {**package.files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(path, content)
    return wheel


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def make_venv(prefix: Path, *wheels: Path) -> Path:
    """By the standard library's venv, and the pip that comes with it."""
    run([str(SYSTEM_PYTHON), "-m", "venv", str(prefix)])
    if wheels:
        run([f"{prefix}/bin/python", "-m", "pip", "install", "-q", "--no-index", *map(str, wheels)])
    return prefix


def make_conda_prefix(prefix: Path, name: str, version: str, *, depends: Sequence[str] = ()) -> Path:
    """What conda leaves of one package: a module, and a script that names the prefix, with their records."""
    texts = {
        f"lib/python3.11/site-packages/{name}.py": f"__version__ = {version!r}\n",
        f"bin/{name}": f"#!{prefix}/bin/python\nimport {name}\nprint({name!r}, {name}.__version__)\n",
    }
    paths = []
    for path, text in texts.items():
        (prefix / path).parent.mkdir(parents=True, exist_ok=True)
        (prefix / path).write_text(text)
        (prefix / path).chmod(0o755)
        original = text.replace(str(prefix), "/opt/placeholder")
        changed = {"prefix_placeholder": "/opt/placeholder", "file_mode": "text"} if original != text else {}
        paths.append(
            {
                "_path": path,
                "path_type": "hardlink",
                "sha256": hashlib.sha256(original.encode()).hexdigest(),
                "sha256_in_prefix": hashlib.sha256(text.encode()).hexdigest(),
                "size_in_bytes": len(original),
                **changed,
            }
        )
    link = {"source": "/nonexistent", "type": 1}
    record: dict[str, Any] = {
        "name": name,
        "version": version,
        "build": "0",
        "url": "",
        "link": link,
        "files": list(texts),
    }
    record["depends"] = list(depends)
    (prefix / "conda-meta").mkdir(exist_ok=True)
    (prefix / f"conda-meta/{name}-{version}-0.json").write_text(
        json.dumps(record | {"paths_data": {"paths_version": 1, "paths": paths}})
    )
    (prefix / "bin/python").unlink(missing_ok=True)
    (prefix / "bin/python").symlink_to(SYSTEM_PYTHON)
    return prefix


def run(argv: list[str], **options: object) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return str(done.stdout)
