"""A conda channel on this machine (file://), made on the spot of packages that are installed, and of samples.

Packages are noarch ones, as conda-forge has them of pure Python, in the format .conda. The index is rattler's.
"""

import asyncio
import hashlib
import io
import json
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rattler import Subdir
from rattler.index import index_fs

from tests.repacked import Package

BLOCK = 128 * 1024


def make_channel(directory: Path, python: Path, packages: Iterable[Package]) -> str:
    """The channel's address. `python`: what the package python leads to, and in whose version the others are."""
    version = _version(python)
    _write_python(directory / str(Subdir.current()), python, version)
    for package in packages:
        _write_noarch(directory / "noarch", package, version)
    asyncio.run(index_fs(directory, write_zst=False, write_shards=False))
    return directory.as_uri()


def _version(python: Path) -> str:
    code = "import platform; print(platform.python_version())"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout.strip()


def _write_python(directory: Path, python: Path, version: str) -> None:
    """A stand-in for conda's Python: the machine's own, which `pyvenv.cfg` tells to look for packages in the prefix."""
    minor = version.rpartition(".")[0]
    files = {
        "pyvenv.cfg": f"home = {python.parent}\ninclude-system-site-packages = false\nversion = {version}\n".encode(),
        f"lib/python{minor}/site-packages/README.txt": b"Packages of this environment.\n",
    }
    links = {f"bin/python{minor}": str(python), "bin/python3": f"python{minor}", "bin/python": f"python{minor}"}
    index = _index("python", version, [], subdir=directory.name)
    _write(directory / f"python-{version}-0.conda", index, files, links)


def _write_noarch(directory: Path, package: Package, python: str) -> None:
    minor = python.rpartition(".")[0]
    files = {f"site-packages/{path}": content for path, content in package.files.items()}
    index = _index(package.name, package.version, [f"python {minor}.*", *package.needs], noarch="python")
    link = {"noarch": {"type": "python", "entry_points": list(package.commands)}, "package_metadata_version": 1}
    _write(directory / f"{package.name}-{package.version}-0.conda", index, files, {}, link)


def _index(name: str, version: str, depends: list[str], **more: str) -> dict[str, Any]:
    index = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": depends}
    return index | {"subdir": "noarch", "timestamp": 1700000000000} | more


def _write(
    file: Path,
    index: dict[str, Any],
    files: dict[str, bytes],
    links: dict[str, str],
    link: dict[str, Any] | None = None,
) -> None:
    """A zip of two archives: what the package is, and what is in it."""
    paths: list[dict[str, Any]] = [
        {"_path": path, "path_type": "hardlink", "sha256": hashlib.sha256(it).hexdigest(), "size_in_bytes": len(it)}
        for path, it in files.items()
    ]
    paths += [{"_path": path, "path_type": "softlink"} for path in links]
    info: dict[str, Any] = {"info/index.json": index, "info/paths.json": {"paths": paths, "paths_version": 1}}
    info |= {"info/link.json": link} if link else {}
    about = {path: json.dumps(content).encode() for path, content in info.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        archive.writestr(f"pkg-{file.stem}.tar.zst", _stored(_tar(files, links)))
        archive.writestr(f"info-{file.stem}.tar.zst", _stored(_tar(about, {})))


def _tar(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(content), 0o755 if path.startswith("bin/") else 0o644
            tar.addfile(member, io.BytesIO(content))
        for path, target in links.items():
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return packed.getvalue()


def _stored(content: bytes) -> bytes:
    """As a frame of Zstandard whose blocks are not compressed (RFC 8878), which Python before 3.14 can't write."""
    blocks = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
    framed = [
        ((len(block) << 3) | (at == len(blocks) - 1)).to_bytes(3, "little") + block for at, block in enumerate(blocks)
    ]
    window = bytes([17 - 10 << 3])  # 2**17 bytes: a block's largest size
    return b"\x28\xb5\x2f\xfd\x00" + window + b"".join(framed)
