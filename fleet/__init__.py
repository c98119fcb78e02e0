"""The server: registry of releases, rollouts, ingest of reports, and what a person sees of a fleet."""
