"""What touches the world on both ends: files and the MQTT client."""
