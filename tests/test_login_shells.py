"""A login shell that is not bash, with start-up files that are slow and print: the shells that centres offer."""

from collections.abc import Iterator

import pytest

from tests.centre import Centre
from tests.helpers import Kernel, change_shell, gears, lab_at

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
    ran = gears(hub.hub, "run andes -- echo works", timeout_s=60)
    assert "works" in ran.stdout, ran.stderr
