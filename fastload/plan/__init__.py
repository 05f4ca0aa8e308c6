"""Which row comes when, and which set it belongs to: values in, values out."""
