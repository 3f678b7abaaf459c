"""The user's tmux sessions on a lab host: `gears shell` and `gears run`."""
