"""The ordinary loop: every coordinate at every step, eight side by side."""
