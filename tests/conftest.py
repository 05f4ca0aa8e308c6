"""Its being here puts this folder on the path, so that tests in sub-folders find the modules they share."""
