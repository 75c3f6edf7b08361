"""A newer Cairn merged into the branch of somebody who has changed this one.

`make upgrade VERSION=…` fetches the release and runs the copy of this package that the release
ships: it knows which files are the user's and which keys have moved since. So this package imports
nothing of Cairn, and of other packages only ruamel.yaml.
"""
