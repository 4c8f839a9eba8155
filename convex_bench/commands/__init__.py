"""The commands `manifold-id study | solve | path | data | verify`, a file each, found by entry point."""
