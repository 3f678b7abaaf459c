"""`gears open`, on a laptop: keep one ssh to the front connected, behind a port that always answers.

`session` decides what to do next; `connection` is one ssh; `port` switches the laptop's port between the waiting page
and ssh; `desktop` is the user's terminal and browser; `serve` is what ssh runs on the front, `report` what it sends.
"""
