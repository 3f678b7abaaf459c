"""Who has an account at the centre. The machine's own account files are only read."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int  # also the gid of the user's own group

    @property
    def home(self) -> str:
        return f"/home/{self.name}" if self.uid else "/root"


ROOT = Account("root", 0)
USERS = (Account("alice", 20001), Account("bob", 20002))
ACCOUNTS = {account.name: account for account in (ROOT, *USERS)}
NAMES = {account.uid: account.name for account in ACCOUNTS.values()}


def write_account_files(etc: Path) -> None:
    """Write passwd, group and shadow into `etc`: the machine's own entries, then the users of the centre."""
    lines = {
        "passwd": "{name}:x:{uid}:{uid}:{name}:/home/{name}:/bin/bash",
        "group": "{name}:x:{uid}:",
        "shadow": "{name}:*:19000:0:99999:7:::",
    }
    for file, line in lines.items():
        ours = [line.format(name=user.name, uid=user.uid) for user in USERS]
        names = tuple(f"{user.name}:" for user in USERS)
        kept = [old for old in Path("/etc", file).read_text().splitlines() if not old.startswith(names)]
        (etc / file).write_text("\n".join(kept + ours) + "\n")
        (etc / file).chmod(0o640 if file == "shadow" else 0o644)
