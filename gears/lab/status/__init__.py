"""The status of a lab: the facts first, then the conclusions."""
