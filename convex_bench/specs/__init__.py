"""Problems, methods and studies from what a TOML file or a command line says."""
