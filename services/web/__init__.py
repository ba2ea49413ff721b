"""HTTP: the applications, assembled."""
