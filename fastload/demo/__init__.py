"""The demo: real flights from CSV to a trained network, through fastload and through torch's DataLoader.

flights   the data, and what the network may see
network   the network, an epoch with a stopwatch, the AUC
compare   the loaders in turn
page      the result as one page
run       all of it: run_demo("fastload-demo.html")
"""
