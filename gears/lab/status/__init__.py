"""The status of a lab: facts first, then what follows from them."""
