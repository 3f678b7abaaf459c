"""A login shell that is not bash, with start-up files that are slow and print: the shells that centres offer."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gears.ssh.login_shell import for_login_shell
from tests.centre import Centre
from tests.helpers import Kernel, change_shell, gears, home, lab_at

WORDS = ["it's", "!seen[$0]++", "a\\b\\\\", "two\nlines", '"q" $x', "é"]
FILES = {"zsh": ".zshenv", "tcsh": ".tcshrc", "fish": ".config/fish/config.fish"}


@pytest.fixture
def hub(centre: Centre) -> Iterator[Centre]:
    yield centre
    gears(centre.hub, "stop andes", timeout_s=60)
    centre.hub.run(f"rm -f {' '.join(FILES.values())}")
    change_shell(centre, "bash")


@pytest.mark.parametrize("shell", FILES)
def test_another_login_shell_that_is_slow_and_prints(hub: Centre, shell: str) -> None:
    hub.hub.run(f"mkdir -p $(dirname {FILES[shell]}) && cat > {FILES[shell]}", input="sleep 3\necho loading modules\n")
    change_shell(hub, shell)
    done = gears(hub.hub, "lab andes", timeout_s=90)
    assert done.returncode == 0, done.stderr
    assert Kernel(lab_at(hub.hub)).run("print(1)") == "1\n"
    ran = hub.hub.run([f"{home()}/.venv/bin/gears", "run", "andes", "--", "printf", "<%s>", *WORDS], timeout_s=60)
    assert "".join(f"<{word}>" for word in WORDS) in ran.stdout.replace("\r\n", "\n"), ran.stderr


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "tcsh", "fish"])
def test_every_login_shell_passes_on_the_same_words(shell: str, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 !")
    wanted = [*WORDS, name, "", "*", "~", "$HOME", "`id`"]
    command = for_login_shell(shlex.join(["printf", "<%s>", *wanted]))
    done = subprocess.run(
        [shell, "-c", command], env=os.environ | {"HOME": str(tmp_path)}, capture_output=True, check=True
    )
    assert done.stdout == os.fsencode("".join(f"<{word}>" for word in wanted))


def test_a_plain_command_is_passed_on_as_it_is() -> None:
    assert for_login_shell("~/gears/.venv/bin/gears _run 'a b'") == "~/gears/.venv/bin/gears _run 'a b'"
