"""What a person runs on a laptop: `gears open` and `gears forward`."""
