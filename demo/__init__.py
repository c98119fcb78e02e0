"""The guided tour: drives the commands as a person would, on one machine, and checks what they did."""
