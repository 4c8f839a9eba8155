"""Tables, texts and pages of studies, solutions and paths."""
