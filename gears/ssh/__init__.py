"""ssh: the hop, its options and failures, targets, and the stanza for a laptop's configuration."""
