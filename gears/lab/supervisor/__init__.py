"""The shell loops in tmux, what they do next, and the keeper with its waiting page."""
