"""Studies: problems x methods x seeds, run, stored, resumed and read back."""
