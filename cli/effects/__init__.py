"""What follows an edit: staging, restarts, and the answer that reports them."""
