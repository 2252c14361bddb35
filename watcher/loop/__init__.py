"""One thread: steps that say what they wait for, and the loop that runs them side by side."""
