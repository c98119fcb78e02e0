"""What touches the world on the server: SQLite, msgspec, the broker's process, the terminal."""
