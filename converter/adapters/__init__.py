"""What touches the world: Keras, the quantizer, the interpreters, files and the terminal."""
