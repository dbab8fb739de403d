"""What the commands do: each one function that returns a result and prints nothing."""
