"""From words to arguments: the commands, their options, the parser, completion."""
