"""Data: the places of a site, and what is moved between them and proven.

`places` tries places. A transfer is planned (`planning`), recorded (`records`) and started where it belongs
(`dispatch`), as a batch job (`batch`) or in tmux. There `execution` carries it out by its method (`methods`): as a tree
(`copying`, `engine`) or as `bundles`; a `crew` on other nodes helps. `following` concludes what has become of it. `due`
and `restoring` look at what a purge takes.
"""
