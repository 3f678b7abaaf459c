"""What gears costs, against what a person would do by hand, side by side in one run: `make bench` (root).

Only the ratios mean something: the machine is shared, and between the centre's hosts there is no distance.
"""
