"""What any daemon needs: logs, timers, waiting, the service manager."""
