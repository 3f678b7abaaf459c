"""The keeper: while a way is down, it answers at the fixed path, probes, and switches the path once a lab answers."""
