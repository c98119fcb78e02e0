"""The agent's own software as one more thing that is pushed to a device, tried, switched to and watched."""
