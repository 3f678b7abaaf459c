"""Sites: profiles, where they are read from, what this host is to a site, and every path of it."""
