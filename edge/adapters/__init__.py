"""What touches the world on a device: the interpreter, disk, processes, sensors of the machine."""
