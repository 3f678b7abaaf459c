"""Sites: profiles and their sources, the role of this host, and all paths of a site."""
