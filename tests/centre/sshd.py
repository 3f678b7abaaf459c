"""What sshd, PAM and ssh read: server configuration, passcodes, host keys, users' keys."""

import base64
import os
import shutil
import subprocess
from pathlib import Path

from tests.centre.accounts import USERS, Account
from tests.centre.network import EVERY_NAME

COMMON = """\
HostKey /etc/ssh/ssh_host_key
AuthenticationMethods {methods}
UsePAM yes
KbdInteractiveAuthentication yes
PasswordAuthentication no
PermitRootLogin no
MaxStartups 100:30:200
LogLevel VERBOSE
PidFile /run/sshd.pid
UseDNS no
AcceptEnv LANG LC_*
PrintMotd no
Subsystem sftp internal-sftp
"""
TOTP_SECRETS = "/etc/gears-centre/totp"
# No rate limit and no DISALLOW_REUSE in the secrets, or each login would wait for the next half minute.
PAM = {
    True: f"auth required pam_google_authenticator.so secret={TOTP_SECRETS}/${{USER}} user=root\n",
    False: "auth required pam_deny.so\n",
}
PAM_REST = "account required pam_permit.so\nsession required pam_permit.so\n"


def write_sshd_config(etc: Path, extra: str, *, totp: bool) -> None:
    """Write a host's sshd_config and PAM stack. `extra` comes first, since the first value of a keyword wins."""
    methods = "publickey,keyboard-interactive:pam" if totp else "publickey"
    (etc / "ssh" / "sshd_config").write_text(extra.rstrip() + "\n" + COMMON.format(methods=methods))
    (etc / "pam.d" / "sshd").write_text(PAM[totp] + PAM_REST)


def write_totp_secrets(etc: Path, secrets: dict[str, str]) -> None:
    directory = etc / Path(TOTP_SECRETS).relative_to("/etc")
    directory.mkdir(parents=True)
    directory.chmod(0o700)
    for user, secret in secrets.items():
        (directory / user).write_text(f'{secret}\n" TOTP_AUTH\n')
        (directory / user).chmod(0o400)


def new_totp_secret() -> str:
    return base64.b32encode(os.urandom(20)).decode()


def totp_code(secret: str) -> str:
    """The passcode of this half minute."""
    command = ["oathtool", "--totp", "--base32", secret]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()


def new_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair at `path` and `path`.pub, in place of one that may be there."""
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=10)


def install_host_key(etc: Path, key: Path) -> None:
    shutil.copy(key, etc / "ssh" / "ssh_host_key")
    (etc / "ssh" / "ssh_host_key").chmod(0o600)


def write_user_ssh(home: Path, user: Account, user_key: Path, host_key: Path) -> None:
    """~/.ssh of one user: a key accepted on every host of the centre, and every host known."""
    directory = home / ".ssh"
    directory.mkdir(exist_ok=True)
    public = Path(f"{user_key}.pub").read_text()
    kind, host_public = Path(f"{host_key}.pub").read_text().split()[:2]
    contents = {
        "id_ed25519": user_key.read_text(),
        "id_ed25519.pub": public,
        "authorized_keys": public,
        "known_hosts": "".join(f"{name} {kind} {host_public}\n" for name in EVERY_NAME),
    }
    for name, text in contents.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o600)
    for path in (directory, *directory.iterdir()):
        os.chown(path, user.uid, user.uid)
    directory.chmod(0o700)


def make_keys(directory: Path) -> None:
    """The centre's common host key, and one key per user."""
    new_key(directory / "host_key", "centre")
    for user in USERS:
        new_key(directory / f"{user.name}_key", f"{user.name}@centre")
