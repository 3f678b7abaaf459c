"""Commands for the laptop: `gears open` and `gears forward`."""
