"""What a machine can do, and what slows it: the rules of `edgeflock doctor`."""
