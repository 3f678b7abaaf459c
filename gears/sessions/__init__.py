"""A person's sessions in tmux on a lab host: `gears shell` and `gears run`."""
