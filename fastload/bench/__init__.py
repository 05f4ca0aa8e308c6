"""One data set of yours, through fastload and through torch's DataLoader.

export    the same rows as memory-mapped .npy files, and torch data sets over them
measure   every loader in turn, batches summed, times taken
page      the result as a table, as plain values and as one page
"""
