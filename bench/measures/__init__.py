"""One module for each group of measurements. Each takes a rig and adds rows to its report."""
