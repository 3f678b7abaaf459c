"""Data: the places of a site, tried from this host."""
