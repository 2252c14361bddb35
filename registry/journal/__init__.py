"""The journal beside the registry: history, receipts, numbers, generations."""
