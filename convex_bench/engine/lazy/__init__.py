"""The lazy loops: on sparse rows a step touches the groups of its rows alone."""
