"""ssh: the hop, its options and failures, the way to a host, the stanza for a laptop's configuration."""
