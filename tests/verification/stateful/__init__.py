"""A stateful test: hypothesis throws the dice, the simulator is the witness."""
