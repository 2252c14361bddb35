"""The daemon: sees to it that each registered VM boots with the arguments of its registry row."""
