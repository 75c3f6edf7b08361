"""Versions of the model in git tags, which of them is where, and what decides over that.

`registry` reads and writes the tags, `revision` brings the files of any commit, `rivals` sets two
models against each other, `gates` says what a version must pass, `trial` puts them to a version,
and `report` shows on a pull request what a change does to the model.
"""
