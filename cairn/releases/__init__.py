"""Version the model by git tags, and decide which version is in which stage.

`versions` reads and writes the tags, `revision` opens the files of any commit, `comparison`
compares two models, `gates` and `checks` decide whether a version may be promoted, `release` and
`promotion` are the commands, and `report` shows on a pull request what a change does to the model.
"""
