"""Its being here puts this folder on the path, so that tests in sub-folders find the modules they share."""

# Scripts that torchrun starts: they import frameworks which may not be there, and are no place to look for doctests.
collect_ignore_glob = ["frameworks/train_*.py"]
