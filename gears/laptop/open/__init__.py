"""`gears open`, on a laptop: one ssh to the front, kept up, behind a port that always answers.

`session` decides what comes next; `connection` is one ssh; `port` lets the waiting page and ssh take turns at the
laptop's port; `screen` is the person's terminal and browser; `far_end` is what ssh runs on the front.
"""
