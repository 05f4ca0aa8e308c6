"""fastload against the loaders people use: one question a file, every run in a process of its own."""
