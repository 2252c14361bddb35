"""Reads in the source of the daemon what it logs: names, levels and fields of events."""

import ast

LEVELS = {'debug', 'info', 'warning', 'error', 'exception', 'critical'}


def text_of(node):
    """The text that a node stands for; None when it is no plain text."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def is_fetched(node):
    """Whether the node is a call of get_logger."""
    called = getattr(node, 'func', None)
    return isinstance(node, ast.Call) \
        and getattr(called, 'id', getattr(called, 'attr', None)) == 'get_logger'


class LogCalls(ast.NodeVisitor):
    """Finds in one function what is logged: (event, levels, certain fields, all fields)."""

    def __init__(self, function):
        self.names = {}
        self.extra = {}
        self.found = []
        self.loggers = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Assign):
                self._note(node.targets[0], node.value)
        self.visit(function)

    def _note(self, target, value):
        if isinstance(target, ast.Name):
            self.names.setdefault(target.id, []).append(value)
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            # Before Python 3.9 an index is wrapped.
            is_wrapped = type(target.slice).__name__ == 'Index'
            key = text_of(target.slice.value if is_wrapped else target.slice)
            self.extra.setdefault(target.value.id, set()).add(key)

    def visit_Call(self, node):
        levels = self._levels(node.func)
        if levels:
            fields = self._fields(node.keywords)
            for event in self._texts(node.args[0]):
                self.found.append((event, levels) + fields)
        self.generic_visit(node)

    def visit_Dict(self, node):
        # A line that cannot go through the logger is built by hand.
        pairs = {text_of(key): value for key, value in zip(node.keys, node.values)}
        if {'event', 'level'} <= set(pairs):
            fields = frozenset(pairs) - {'event', 'level'}
            self.found.append((text_of(pairs['event']), self._texts(pairs['level']))
                              + (fields, fields))
        self.generic_visit(node)

    def _levels(self, function):
        """The levels that a call of `function` may log at; nothing when it is no log call."""
        if isinstance(function, ast.Name):
            return frozenset().union(*map(self._levels, self.names.get(function.id, ())))
        if isinstance(function, ast.IfExp):
            return self._levels(function.body) | self._levels(function.orelse)
        if isinstance(function, ast.Attribute) and function.attr in LEVELS \
                and self._is_logger(function.value):
            return frozenset([function.attr])
        return frozenset()

    def _is_logger(self, node):
        if isinstance(node, ast.Name):
            return any(self._is_logger(value) for value in self.names.get(node.id, ()))
        if is_fetched(node):
            self.loggers.add((node.lineno, node.col_offset))
            return True
        return False

    def _texts(self, node):
        if isinstance(node, ast.IfExp):
            return self._texts(node.body) | self._texts(node.orelse)
        if isinstance(node, ast.Name):
            return frozenset().union(*map(self._texts, self.names[node.id]))
        return frozenset([text_of(node)])

    def _fields(self, keywords):
        certain, possible = set(), set()
        for keyword in keywords:
            if keyword.arg is not None:
                certain.add(keyword.arg)
                continue
            value = keyword.value
            if isinstance(value, ast.Name):
                possible |= self.extra.get(value.id, set())
                value, = self.names[value.id]
            if isinstance(value, ast.IfExp):
                possible |= {text_of(key) for key in value.body.keys}
            else:
                certain |= {item.arg for item in value.keywords}
        return frozenset(certain), frozenset(certain | possible)


def list_functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def find_unread_loggers(source):
    """The lines on which a logger is fetched for something that is not understood here."""
    tree = ast.parse(source)
    read = {logger for function in list_functions(tree) for logger in LogCalls(function).loggers}
    return sorted(node.lineno for node in ast.walk(tree)
                  if is_fetched(node) and (node.lineno, node.col_offset) not in read)


def find_log_calls(source):
    return [found for function in list_functions(ast.parse(source))
            for found in LogCalls(function).found]


def collect_events(sources):
    """event -> (levels, fields); a field with `?` is not in every line of the event."""
    calls = {}
    for source in sources:
        for event, levels, certain, possible in find_log_calls(source):
            calls.setdefault(event, []).append((levels, certain, possible))
    events = {}
    for event, found in calls.items():
        certain = frozenset.intersection(*[item[1] for item in found])
        possible = frozenset.union(*[item[2] for item in found])
        fields = {name if name in certain else name + '?' for name in possible}
        # structlog writes what it makes of exc_info under another name.
        events[event] = (frozenset.union(*[item[0] for item in found]),
                         frozenset(name.replace('exc_info', 'exception') for name in fields))
    return events
